// Rotary positions against the formula in double, number by number.
#include "models/rotary.hpp"

#include <cmath>

#include <catch2/catch.hpp>

namespace asterias::test {
namespace {

using torch::Tensor;

constexpr std::int64_t kWidth = 8;
constexpr double kTheta = 10000;

Tensor random_heads(std::int64_t tokens) {
  return torch::randn({2, tokens, 3, kWidth}, at::detail::createCPUGenerator(1));
}

double angle_at(std::int64_t position, std::int64_t pair, double theta) {
  return static_cast<double>(position) * std::pow(theta, -2.0 * static_cast<double>(pair) / double{kWidth});
}

// Neighbours (a, b) become (a cos - b sin, a sin + b cos).
Tensor turned_by_hand(const Tensor& heads, double theta) {
  const Tensor in = heads.to(torch::kDouble), out = torch::empty_like(in);
  const auto from = in.accessor<double, 4>();
  auto to = out.accessor<double, 4>();
  for (std::int64_t b = 0; b < in.size(0); ++b)
    for (std::int64_t t = 0; t < in.size(1); ++t)
      for (std::int64_t h = 0; h < in.size(2); ++h)
        for (std::int64_t pair = 0; pair < kWidth / 2; ++pair) {
          const double x = from[b][t][h][2 * pair], y = from[b][t][h][2 * pair + 1];
          const double angle = angle_at(t, pair, theta);
          to[b][t][h][2 * pair] = x * std::cos(angle) - y * std::sin(angle);
          to[b][t][h][2 * pair + 1] = x * std::sin(angle) + y * std::cos(angle);
        }
  return out;
}

double largest_error(const Tensor& got, const Tensor& want) {
  return (got.to(torch::kDouble) - want).abs().max().item<double>();
}

}  // namespace

CATCH_TEST_CASE("each pair of neighbours is turned by its position times its frequency", "[unit]") {
  const Tensor heads = random_heads(40);
  for (const double theta : {10000.0, 500000.0}) {
    const auto turns = models::rotary_turns(40, kWidth, theta, torch::kCPU);
    CATCH_CHECK(turns.sizes() == std::vector<std::int64_t>{40, 1, kWidth / 2});
    CATCH_CHECK(largest_error(models::rotate(heads, turns), turned_by_hand(heads, theta)) < 1e-6);
  }
}

CATCH_TEST_CASE("late positions are turned as exactly as early ones", "[unit]") {
  constexpr std::int64_t kLast = 131071;
  const auto turns = models::rotary_turns(kLast + 1, kWidth, kTheta, torch::kCPU)[kLast][0];
  for (std::int64_t pair = 0; pair < kWidth / 2; ++pair) {
    const double angle = angle_at(kLast, pair, kTheta);
    CATCH_CHECK(std::abs(torch::real(turns)[pair].item<double>() - std::cos(angle)) < 1e-7);
    CATCH_CHECK(std::abs(torch::imag(turns)[pair].item<double>() - std::sin(angle)) < 1e-7);
  }
}

CATCH_TEST_CASE("the product of a query and a key depends on their distance alone", "[unit]") {
  constexpr std::int64_t kTokens = 24;
  const auto turns = models::rotary_turns(kTokens, kWidth, kTheta, torch::kCPU);
  const auto everywhere = [&](int seed) {  // one vector at every position, turned
    const auto vector =
        torch::randn({1, 1, 1, kWidth}, at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed)));
    return models::rotate(vector.expand({1, kTokens, 1, kWidth}), turns).view({kTokens, kWidth});
  };
  const Tensor products = torch::mm(everywhere(2), everywhere(3).t());
  const auto inner = [&](std::int64_t from) { return products.slice(0, from, from + 20).slice(1, from, from + 20); };
  for (const std::int64_t shift : {1, 3, 4}) CATCH_CHECK((inner(shift) - inner(0)).abs().max().item<double>() < 1e-5);
  CATCH_CHECK(products[0].std().item<double>() > 0.01);
}

CATCH_TEST_CASE("heads in 16 bits are turned in fp32 and rounded once", "[unit]") {
  const auto turns = models::rotary_turns(40, kWidth, kTheta, torch::kCPU);
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    const Tensor heads = random_heads(40).to(dtype);
    const Tensor got = models::rotate(heads, turns);
    CATCH_CHECK(got.scalar_type() == dtype);
    CATCH_CHECK(torch::equal(got, models::rotate(heads.to(torch::kFloat), turns).to(dtype)));
  }
}

}  // namespace asterias::test
