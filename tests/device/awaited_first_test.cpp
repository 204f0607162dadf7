#include "device/awaited_first.hpp"

#include <vector>

#include <catch2/catch.hpp>

namespace asterias::device {
namespace {

struct Request {
  explicit Request(int of) : number(of) {}
  int number;
  AwaitedFirst<Request>::Place place;
};

CATCH_TEST_CASE("awaited first: what is waited for goes first, each kind in its own order", "[device]") {
  AwaitedFirst<Request> line;
  CATCH_CHECK(line.empty());
  std::vector<std::shared_ptr<Request>> requests;
  for (int i = 0; i < 5; ++i) line.push_back(requests.emplace_back(std::make_shared<Request>(i)));
  for (const int hurried : {3, 1, 3}) line.hurry(*requests[static_cast<std::size_t>(hurried)]);
  const auto take = [&] {
    const auto first = line.front();
    line.erase(*first);
    return first->number;
  };
  CATCH_CHECK(take() == 3);
  line.hurry(*requests[3]);  // stands there no more
  CATCH_CHECK(take() == 1);
  line.hurry(*requests[4]);
  for (const int number : {4, 0, 2}) CATCH_CHECK(take() == number);
  CATCH_CHECK(line.empty());
}

CATCH_TEST_CASE("awaited first: what stands in line is held, and nothing else", "[device]") {
  AwaitedFirst<Request> line;
  auto request = std::make_shared<Request>(1);
  const std::weak_ptr<Request> watched = request;
  line.push_back(request);
  request.reset();
  CATCH_REQUIRE_FALSE(watched.expired());
  line.erase(*line.front());
  CATCH_CHECK(watched.expired());
}

}  // namespace
}  // namespace asterias::device
