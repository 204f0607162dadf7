// The Llama against its formulas, in double and one number after another.
#include "models/llama.hpp"

#include <cmath>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias::test {
namespace {

using models::LlamaOptions;
using torch::Tensor;
using Row = std::vector<double>;
using Rows = std::vector<Row>;

LlamaOptions small() {
  return {.vocabulary = 19, .layers = 2, .hidden = 16, .heads = 4, .kv_heads = 2, .intermediate = 24};
}

// Weights far from their beginnings, norms included, so that each counts.
models::Llama make_llama(const LlamaOptions& options) {
  torch::manual_seed(3);
  models::Llama llama(options);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : llama->parameters()) parameter.normal_(0, 0.4);
  return llama;
}

Tensor random_ids(std::int64_t vocabulary, std::int64_t tokens) {
  return torch::randint(vocabulary, {1, tokens}, at::detail::createCPUGenerator(4));
}

// ---- the reference
// ---------------------------------------------------------------------------------------------------

class Reference {
 public:
  Reference(const models::LlamaImpl& llama, const LlamaOptions& options)
      : options_(options), parameters_(llama.named_parameters()) {}

  Rows logits(const Tensor& ids) const {
    const Rows table = matrix("tokens.weight");
    Rows x;
    for (std::int64_t t = 0; t < ids.size(1); ++t)
      x.push_back(table[static_cast<std::size_t>(ids[0][t].item<std::int64_t>())]);
    for (std::int64_t i = 0; i < options_.layers; ++i) {
      const std::string block = "block" + std::to_string(i) + ".";
      add(x, attention(block, normed(x, block + "norm1.weight")));
      add(x, perceptron(block, normed(x, block + "norm2.weight")));
    }
    return product(normed(x, "norm.weight"), "head.weight");
  }

 private:
  Rows matrix(const std::string& name) const {
    const Tensor tensor = parameters_[name].to(torch::kDouble);
    Rows rows;
    for (std::int64_t i = 0; i < tensor.size(0); ++i)
      rows.emplace_back(tensor[i].data_ptr<double>(), tensor[i].data_ptr<double>() + tensor.size(1));
    return rows;
  }

  static void add(Rows& x, const Rows& y) {
    for (std::size_t t = 0; t < x.size(); ++t)
      for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
  }

  Rows product(const Rows& x, const std::string& name) const {
    const Rows weight = matrix(name);
    Rows y(x.size(), Row(weight.size(), 0));
    for (std::size_t t = 0; t < x.size(); ++t)
      for (std::size_t o = 0; o < weight.size(); ++o)
        for (std::size_t i = 0; i < x[t].size(); ++i) y[t][o] += weight[o][i] * x[t][i];
    return y;
  }

  Rows normed(Rows x, const std::string& name) const {
    const Tensor weight = parameters_[name].to(torch::kDouble);
    for (auto& row : x) {
      double sum = 0;
      for (const double value : row) sum += value * value;
      const double scale = 1 / std::sqrt(sum / static_cast<double>(row.size()) + options_.norm_epsilon);
      for (std::size_t i = 0; i < row.size(); ++i) row[i] *= scale * weight.data_ptr<double>()[i];
    }
    return x;
  }

  // Of row t of qkv: the head that begins at `first`, turned to position t.
  Row turned(const Row& row, std::size_t first, std::size_t t) const {
    const std::size_t width = head_width();
    Row head(width);
    for (std::size_t i = 0; i < width; i += 2) {
      const double angle =
          static_cast<double>(t) * std::pow(options_.rope_theta, -static_cast<double>(i) / static_cast<double>(width));
      const double a = row[first + i], b = row[first + i + 1];
      head[i] = a * std::cos(angle) - b * std::sin(angle);
      head[i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return head;
  }

  // Adds to `out` what head `h` of position `t` sees.
  void attend(const Rows& qkv, std::size_t h, std::size_t t, Row& out) const {
    const std::size_t width = head_width(), heads = static_cast<std::size_t>(options_.heads);
    const std::size_t kv_heads = static_cast<std::size_t>(options_.kv_heads), group = h / (heads / kv_heads);
    const Row query = turned(qkv[t], h * width, t);
    Row weights;
    double sum = 0;
    for (std::size_t s = 0; s <= t; ++s) {
      const Row key = turned(qkv[s], (heads + group) * width, s);
      double score = 0;
      for (std::size_t i = 0; i < width; ++i) score += query[i] * key[i];
      sum += weights.emplace_back(std::exp(score / std::sqrt(static_cast<double>(width))));
    }
    for (std::size_t s = 0; s <= t; ++s)
      for (std::size_t i = 0; i < width; ++i)
        out[h * width + i] += weights[s] / sum * qkv[s][(heads + kv_heads + group) * width + i];
  }

  Rows attention(const std::string& block, const Rows& x) const {
    const Rows qkv = product(x, block + "qkv.weight");
    Rows mixed(x.size(), Row(x[0].size(), 0));
    for (std::size_t t = 0; t < x.size(); ++t)
      for (std::size_t h = 0; h < static_cast<std::size_t>(options_.heads); ++h) attend(qkv, h, t, mixed[t]);
    return product(mixed, block + "projection.weight");
  }

  Rows perceptron(const std::string& block, const Rows& x) const {
    Rows gate = product(x, block + "gate.weight");
    const Rows up = product(x, block + "up.weight");
    for (std::size_t t = 0; t < gate.size(); ++t)
      for (std::size_t i = 0; i < gate[t].size(); ++i) gate[t][i] *= up[t][i] / (1 + std::exp(-gate[t][i]));
    return product(gate, block + "down.weight");
  }

  std::size_t head_width() const { return static_cast<std::size_t>(options_.hidden / options_.heads); }

  LlamaOptions options_;
  torch::OrderedDict<std::string, Tensor> parameters_;
};

double largest_error(const Tensor& logits, const Rows& want) {
  double most = 0;
  for (std::size_t t = 0; t < want.size(); ++t)
    for (std::size_t i = 0; i < want[t].size(); ++i)
      most = std::max(
          most,
          std::abs(logits[0][static_cast<std::int64_t>(t)][static_cast<std::int64_t>(i)].item<double>() - want[t][i]));
  return most;
}

std::int64_t num_parameters(const torch::nn::Module& module) {
  std::int64_t sum = 0;
  for (const auto& parameter : module.parameters()) sum += parameter.numel();
  return sum;
}

}  // namespace

CATCH_TEST_CASE("a Llama's logits are those of its formulas in double", "[unit]") {
  const torch::NoGradGuard no_grad;
  for (const std::int64_t kv_heads : {1, 2, 4}) {
    auto options = small();
    options.kv_heads = kv_heads;
    auto llama = make_llama(options);
    const Tensor ids = random_ids(options.vocabulary, 9);
    CATCH_CAPTURE(kv_heads);
    const Rows want = Reference(*llama, options).logits(ids);
    CATCH_CHECK(largest_error(llama->forward(ids), want) < 1e-4);
    options.rope_theta = 100;  // the reference would notice
    CATCH_CHECK(largest_error(llama->forward(ids), Reference(*llama, options).logits(ids)) > 1e-2);
  }
}

CATCH_TEST_CASE("grouped queries are those of a Llama whose keys and values are repeated", "[unit]") {
  const torch::NoGradGuard no_grad;
  auto options = small();
  auto grouped = make_llama(options);
  options.kv_heads = options.heads;
  auto repeated = make_llama(options);
  const std::int64_t width = options.hidden / options.heads;
  for (auto& item : repeated->named_parameters()) {
    Tensor weight = grouped->named_parameters()[item.key()];
    if (item.key().find("qkv") != std::string::npos) {
      const auto parts = weight.view({-1, width, options.hidden}).split_with_sizes({options.heads, 2, 2});
      weight = torch::cat({parts[0], parts[1].repeat_interleave(2, 0), parts[2].repeat_interleave(2, 0)})
                   .view({-1, options.hidden});
    }
    item.value().copy_(weight);
  }
  const Tensor ids = random_ids(options.vocabulary, 12);
  CATCH_CHECK((grouped->forward(ids) - repeated->forward(ids)).abs().max().item<double>() < 1e-5);
}

CATCH_TEST_CASE("later tokens change no earlier logit", "[unit]") {
  const torch::NoGradGuard no_grad;
  auto llama = make_llama(small());
  const Tensor ids = random_ids(19, 12), other = ids.clone();
  other[0][7] = (ids[0][7] + 1) % 19;
  const Tensor a = llama->forward(ids)[0], b = llama->forward(other)[0];
  CATCH_CHECK(torch::equal(a.narrow(0, 0, 7), b.narrow(0, 0, 7)));
  for (std::int64_t t = 7; t < 12; ++t) CATCH_CHECK_FALSE(torch::equal(a[t], b[t]));
}

CATCH_TEST_CASE("an RMSNorm divides by the root mean square, in fp32 and rounded once", "[unit]") {
  const torch::NoGradGuard no_grad;
  models::RmsNorm norm(64, 1e-5);
  auto weight = norm->parameters()[0];
  CATCH_CHECK(weight.eq(1).all().item<bool>());
  weight.normal_(1, 0.2);
  // The squares of the large ones are beyond fp16's range, those of the small ones below it.
  for (const double scale : {1.0, 1e4, 1e-4}) {
    const Tensor x = torch::randn({5, 64}, at::detail::createCPUGenerator(6)) * scale;
    const auto want = [&](const Tensor& of) {
      const Tensor in = of.to(torch::kDouble);
      return in / (in.pow(2).mean(-1, /*keepdim=*/true) + 1e-5).sqrt() * weight.to(torch::kDouble);
    };
    CATCH_CHECK(torch::allclose(norm(x).to(torch::kDouble), want(x), 1e-6, 1e-9));
    const Tensor half = x.to(torch::kHalf);
    CATCH_CHECK(norm(half).scalar_type() == torch::kHalf);
    CATCH_CHECK(torch::allclose(norm(half).to(torch::kDouble), want(half), 0x1p-11 * 1.01, 0x1p-24));
  }
}

CATCH_TEST_CASE("the number of parameters is the published one, and a module's own", "[unit]") {
  CATCH_CHECK(num_parameters(*models::Llama(small())) == small().num_parameters());
  CATCH_CHECK(num_parameters(*models::Llama(LlamaOptions())) == LlamaOptions().num_parameters());
  const LlamaOptions llama_7b{32000, 32, 4096, 32, 32, LlamaOptions::usual_intermediate(4096)};
  CATCH_CHECK(llama_7b.intermediate == 11008);
  CATCH_CHECK(llama_7b.num_parameters() == 6'738'415'616);
  CATCH_CHECK(LlamaOptions::usual_intermediate(5120) == 13824);
}

CATCH_TEST_CASE("weights begin as N(0, 0.02), norms as 1, and nothing has a bias", "[unit]") {
  torch::manual_seed(1);
  for (const auto& item : models::Llama(LlamaOptions())->named_parameters()) {
    CATCH_CAPTURE(item.key());
    CATCH_CHECK(item.key().ends_with(".weight"));
    if (item.key().find("norm") != std::string::npos) {
      CATCH_CHECK(item.value().eq(1).all().item<bool>());
    } else {
      CATCH_CHECK(item.value().std().item<double>() == Approx(0.02).epsilon(0.05));
      CATCH_CHECK(std::abs(item.value().mean().item<double>()) < 1e-3);
    }
  }
}

CATCH_TEST_CASE("in 16 bits the logits are near those in fp32", "[unit]") {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(1);
  models::Llama llama{LlamaOptions()};
  const Tensor ids = random_ids(256, 40);
  const Tensor want = llama->forward(ids);
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    llama->to(dtype);
    const Tensor got = llama->forward(ids);
    CATCH_CHECK(got.scalar_type() == dtype);
    CATCH_CHECK((got.to(torch::kFloat) - want).norm().item<double>() < 0.03 * want.norm().item<double>());
  }
}

CATCH_TEST_CASE("a wrapper runs every block once, and changes nothing by itself", "[unit]") {
  const torch::NoGradGuard no_grad;
  auto llama = make_llama(small());
  const Tensor ids = random_ids(19, 5), want = llama->forward(ids);
  int calls = 0;
  llama->wrap_blocks([&](const auto& block, const Tensor& x) {
    ++calls;
    return block(x);
  });
  CATCH_CHECK(torch::equal(llama->forward(ids), want));
  CATCH_CHECK(calls == 2);
  llama->wrap_blocks({});
  CATCH_CHECK(torch::equal(llama->forward(ids), want));
  CATCH_CHECK(calls == 2);
}

CATCH_TEST_CASE("sizes that do not go together are refused by name", "[unit]") {
  auto options = small();
  options.kv_heads = 3;
  CATCH_CHECK_THROWS_WITH(models::Llama(options), Catch::Contains("multiple of kv_heads (3)"));
  options = small();
  options.heads = options.kv_heads = 16;  // heads of width 1 have no pairs
  CATCH_CHECK_THROWS_WITH(models::Llama(options), Catch::Contains("hidden (16)"));
}

}  // namespace asterias::test
