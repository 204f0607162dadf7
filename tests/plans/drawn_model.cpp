#include "tests/plans/drawn_model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "models/gpt.hpp"
#include "tests/runtime/zoo.hpp"

namespace asterias::plans {
namespace {

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using Json = nlohmann::ordered_json;
using torch::Tensor;

torch::Generator generator(int sample) {
  return at::detail::createCPUGenerator(1000 + static_cast<std::uint64_t>(sample));
}
// In the dtype of the module's first parameter, whatever precision it was given.
Tensor normal(const nn::Module& module, const std::vector<std::int64_t>& sizes, int sample) {
  const auto dtype = module.parameters().front().scalar_type();
  return torch::randn(sizes, generator(sample)).to(dtype).to(test::case_device);
}
Tensor integers(std::int64_t end, const std::vector<std::int64_t>& sizes, int sample) {
  return torch::randint(end, sizes, generator(sample)).to(test::case_device);
}

std::int64_t shortened(std::int64_t length, double share) {
  return std::max<std::int64_t>(2, std::llround(static_cast<double>(length) * share));
}

// The width at which `elements_of_width_squared` times its square is about `elements`, in [16, most], a multiple of 16.
std::int64_t draw_width(Draw& draw, std::int64_t elements, std::int64_t squares, std::int64_t most) {
  const auto limit = std::llround(std::sqrt(static_cast<double>(elements) / static_cast<double>(squares)));
  return draw.of_any_size(16, std::clamp<std::int64_t>(limit, 16, most)) / 16 * 16;
}

// Makes a root with `Net` and its loss: what most kinds are.
template <class Net, class Loss>
DrawnModel drawn(Json words, std::function<std::shared_ptr<Net>()> make, Loss loss) {
  return {std::move(words), make, [loss](nn::Module& module, int sample, double share) {
            return loss(static_cast<Net&>(module), sample, share);
          }};
}

DrawnModel draw_gpt(Draw& draw, std::int64_t elements) {
  models::GptOptions options;
  options.vocabulary = draw.of_any_size(50, 3000);
  options.layers = draw.between(1, 6);
  options.heads = draw.one_of({1, 2, 4, 8});
  options.hidden = draw_width(draw, elements, 12 * options.layers, 512);
  options.sequence = draw.between(8, 96);
  options.dropout = draw.one_of({0.0, 0.1});
  const std::int64_t batch = draw.between(1, 4);
  return drawn<models::GptImpl>(
      {{"kind", "gpt"},
       {"layers", options.layers},
       {"hidden", options.hidden},
       {"heads", options.heads},
       {"vocabulary", options.vocabulary},
       {"sequence", options.sequence},
       {"dropout", options.dropout},
       {"batch", batch}},
      [options] { return std::make_shared<models::GptImpl>(options); },
      [options, batch](models::GptImpl& gpt, int sample, double share) {
        const auto tokens = shortened(options.sequence, share);
        const auto ids = integers(options.vocabulary, {batch, tokens + 1}, sample);
        return models::next_token_loss(gpt.forward(ids.narrow(1, 0, tokens)), ids.narrow(1, 1, tokens));
      });
}

// ---- recurrent ------------------------------------------------------------------------------------------------------

template <class Rnn>
struct Recurrent : nn::Module {
  template <class Options>
  explicit Recurrent(const Options& options) {
    rnn = register_module("rnn", Rnn(options));
  }
  Rnn rnn{nullptr};
};

template <class Rnn, class Options>
DrawnModel draw_recurrent(const char* kind, Draw& draw, std::int64_t elements) {
  const std::int64_t layers = draw.between(1, 3);
  const bool both_ways = draw.chance(40);
  const std::int64_t hidden = draw_width(draw, elements, 8 * layers * (both_ways ? 3 : 1), 384);
  const std::int64_t input = draw.between(8, 160), length = draw.between(4, 24), batch = draw.between(1, 8);
  const double dropout = layers > 1 && draw.chance(50) ? 0.1 : 0.0;
  const auto options = Options(input, hidden).num_layers(layers).bidirectional(both_ways).dropout(dropout);
  return drawn<Recurrent<Rnn>>(
      {{"kind", kind},
       {"input", input},
       {"hidden", hidden},
       {"layers", layers},
       {"bidirectional", both_ways},
       {"dropout", dropout},
       {"length", length},
       {"batch", batch}},
      [options] { return std::make_shared<Recurrent<Rnn>>(options); },
      [=](Recurrent<Rnn>& net, int sample, double share) {
        const auto x = normal(net, {shortened(length, share), batch, input}, sample);
        return std::get<0>(net.rnn(x)).pow(2).mean();
      });
}

// ---- convolutions ---------------------------------------------------------------------------------------------------

struct ConvNet : nn::Module {
  ConvNet(std::int64_t depth, std::int64_t channels, std::int64_t classes) {
    for (std::int64_t i = 0; i < depth; ++i) {
      const auto name = std::to_string(i);
      const auto options =
          nn::Conv2dOptions(i == 0 ? 3 : channels, channels, 3).padding(1).stride(i % 2 + 1).bias(i > 0);
      convs.push_back(register_module("conv" + name, nn::Conv2d(options)));
      norms.push_back(register_module("norm" + name, nn::BatchNorm2d(channels)));
    }
    head = register_module("head", nn::Linear(channels, classes));
    seen = register_buffer("seen", torch::zeros({1}));
  }
  Tensor forward(Tensor x) {
    if (is_training()) seen.add_(1);
    for (std::size_t i = 0; i < convs.size(); ++i) x = torch::relu(norms[i](convs[i](x)));
    return head(x.mean({2, 3}));
  }
  std::vector<nn::Conv2d> convs;
  std::vector<nn::BatchNorm2d> norms;
  nn::Linear head{nullptr};
  Tensor seen;
};

DrawnModel draw_convolutions(Draw& draw, std::int64_t elements) {
  const std::int64_t depth = draw.between(1, 5);
  const std::int64_t channels = draw_width(draw, elements, 9 * depth, 192);
  const std::int64_t size = draw.between(8, 24), batch = draw.between(2, 8), classes = draw.between(2, 40);
  return drawn<ConvNet>(
      {{"kind", "conv"},
       {"depth", depth},
       {"channels", channels},
       {"size", size},
       {"batch", batch},
       {"classes", classes}},
      [=] { return std::make_shared<ConvNet>(depth, channels, classes); },
      [=](ConvNet& net, int sample, double share) {
        const auto logits = net.forward(normal(net, {shortened(batch, share), 3, size, size}, sample));
        return F::cross_entropy(logits, integers(classes, {logits.size(0)}, sample));
      });
}

// ---- attention ------------------------------------------------------------------------------------------------------

struct Encoder : nn::Module {
  Encoder(std::int64_t width, std::int64_t heads, std::int64_t layers, std::int64_t inner, double dropout) {
    const auto layer = nn::TransformerEncoderLayerOptions(width, heads).dim_feedforward(inner).dropout(dropout);
    encoder = register_module("encoder", nn::TransformerEncoder(nn::TransformerEncoderOptions(layer, layers)));
  }
  nn::TransformerEncoder encoder{nullptr};
};

DrawnModel draw_encoder(Draw& draw, std::int64_t elements) {
  const std::int64_t layers = draw.between(1, 4), heads = draw.one_of({1, 2, 4});
  const std::int64_t width = draw_width(draw, elements, 8 * layers, 384), inner = width * draw.between(1, 3);
  const std::int64_t length = draw.between(4, 48), batch = draw.between(1, 4);
  const double dropout = draw.one_of({0.0, 0.1});
  return drawn<Encoder>(
      {{"kind", "encoder"},
       {"layers", layers},
       {"width", width},
       {"heads", heads},
       {"inner", inner},
       {"dropout", dropout},
       {"length", length},
       {"batch", batch}},
      [=] { return std::make_shared<Encoder>(width, heads, layers, inner, dropout); },
      [=](Encoder& net, int sample, double share) {
        return net.encoder(normal(net, {shortened(length, share), batch, width}, sample)).pow(3).mean();
      });
}

// ---- odd parameters -------------------------------------------------------------------------------------------------

// Tied (one under two names, one layer used twice), frozen, used in some samples only, never used, and tiny ones.
struct Awkward : nn::Module {
  explicit Awkward(std::int64_t width) {
    in = register_module("in", nn::Linear(width, width));
    frozen = register_module("frozen", nn::Linear(width, width));
    twice = register_module("twice", nn::Linear(width, width));
    rare = register_module("rare", nn::Linear(width, width));
    unused = register_module("unused", nn::Linear(width, width));
    alias = register_parameter("alias_of_twice", twice->weight);
    scale = register_parameter("scale", torch::ones({1}));
    for (auto& parameter : frozen->parameters()) parameter.set_requires_grad(false);
  }
  Tensor forward(const Tensor& x, bool use_rare) {
    auto h = torch::relu(frozen(torch::tanh(in(x)) * scale));
    h = twice(torch::tanh(twice(h)));
    if (use_rare) h = h + rare(h);
    return torch::matmul(h, alias.t());
  }
  nn::Linear in{nullptr}, frozen{nullptr}, twice{nullptr}, rare{nullptr}, unused{nullptr};
  Tensor alias, scale;
};

DrawnModel draw_awkward(Draw& draw, std::int64_t elements) {
  const std::int64_t width = draw_width(draw, elements, 5, 768), batch = draw.between(1, 64);
  return drawn<Awkward>(
      {{"kind", "awkward"}, {"width", width}, {"batch", batch}}, [=] { return std::make_shared<Awkward>(width); },
      [=](Awkward& net, int sample, double share) {
        return net.forward(normal(net, {shortened(batch, share), width}, sample), sample % 3 == 0).pow(2).mean();
      });
}

// ---- embeddings and one very large tensor ---------------------------------------------------------------------------

struct Table : nn::Module {
  Table(std::int64_t rows, std::int64_t width, std::int64_t classes) {
    table = register_module("table", nn::Embedding(rows, width));
    bag = register_module("bag", nn::EmbeddingBag(nn::EmbeddingBagOptions(rows / 2, width).mode(torch::kMean)));
    out = register_module("out", nn::Linear(width, classes));
  }
  nn::Embedding table{nullptr};
  nn::EmbeddingBag bag{nullptr};
  nn::Linear out{nullptr};
};

DrawnModel draw_embeddings(Draw& draw, std::int64_t elements) {
  const std::int64_t width = draw.one_of({8, 16, 32, 100}), classes = draw.between(2, 30);
  const std::int64_t rows = draw.of_any_size(64, std::max<std::int64_t>(128, elements / width / 2));
  const std::int64_t batch = draw.between(1, 64);
  return drawn<Table>(
      {{"kind", "embeddings"}, {"rows", rows}, {"width", width}, {"classes", classes}, {"batch", batch}},
      [=] { return std::make_shared<Table>(rows, width, classes); },
      [=](Table& net, int sample, double share) {
        const auto ids = integers(rows / 2, {shortened(batch, share), 3}, sample);
        const auto both = net.table(ids).mean(1) + net.bag(ids);
        return F::cross_entropy(net.out(torch::tanh(both)), ids.select(1, 0) % classes);
      });
}

// One tensor that holds nearly everything.
struct Wide : nn::Module {
  Wide(std::int64_t narrow, std::int64_t wide) {
    in = register_module("in", nn::Linear(8, narrow));
    out = register_module("out", nn::Linear(narrow, wide));
  }
  nn::Linear in{nullptr}, out{nullptr};
};

DrawnModel draw_wide(Draw& draw, std::int64_t elements) {
  const std::int64_t narrow = draw.one_of({16, 33, 64}), batch = draw.between(1, 8);
  const std::int64_t wide = draw.of_any_size(1000, std::max<std::int64_t>(2000, elements / narrow));
  return drawn<Wide>(
      {{"kind", "wide"}, {"narrow", narrow}, {"wide", wide}, {"batch", batch}},
      [=] { return std::make_shared<Wide>(narrow, wide); },
      [=](Wide& net, int sample, double share) {
        const auto h = torch::tanh(net.in(normal(net, {shortened(batch, share), 8}, sample)));
        return net.out(h).pow(2).mean();
      });
}

// ---- a mixture ------------------------------------------------------------------------------------------------------

// Embedding, convolution, LSTM, normalisation, attention and a tied head in one.
struct Mixed : nn::Module {
  Mixed(std::int64_t vocabulary, std::int64_t width, double dropout) {
    tokens = register_module("tokens", nn::Embedding(vocabulary, width));
    conv = register_module("conv", nn::Conv1d(nn::Conv1dOptions(width, width, 3).padding(1)));
    rnn = register_module("rnn", nn::LSTM(nn::LSTMOptions(width, width).batch_first(true)));
    norm = register_module("norm", nn::LayerNorm(nn::LayerNormOptions({width})));
    attention =
        register_module("attention", nn::MultiheadAttention(nn::MultiheadAttentionOptions(width, 4).dropout(dropout)));
  }
  Tensor forward(const Tensor& ids) {
    auto h = torch::gelu(conv(tokens(ids).transpose(1, 2))).transpose(1, 2);
    h = norm(h + std::get<0>(rnn(h)));
    const auto by_time = h.transpose(0, 1);
    h = h + std::get<0>(attention(by_time, by_time, by_time)).transpose(0, 1);
    return torch::matmul(h, tokens->weight.t());
  }
  nn::Embedding tokens{nullptr};
  nn::Conv1d conv{nullptr};
  nn::LSTM rnn{nullptr};
  nn::LayerNorm norm{nullptr};
  nn::MultiheadAttention attention{nullptr};
};

DrawnModel draw_mixed(Draw& draw, std::int64_t elements) {
  const std::int64_t width = draw_width(draw, elements, 16, 256), vocabulary = draw.of_any_size(32, 2000);
  const std::int64_t length = draw.between(4, 32), batch = draw.between(1, 4);
  const double dropout = draw.one_of({0.0, 0.1});
  return drawn<Mixed>(
      {{"kind", "mixed"},
       {"width", width},
       {"vocabulary", vocabulary},
       {"length", length},
       {"batch", batch},
       {"dropout", dropout}},
      [=] { return std::make_shared<Mixed>(vocabulary, width, dropout); },
      [=](Mixed& net, int sample, double share) {
        const auto ids = integers(vocabulary, {batch, shortened(length, share)}, sample);
        return F::cross_entropy(net.forward(ids).flatten(0, 1), ids.flatten());
      });
}

DrawnModel with_batch_norms(DrawnModel model) {
  model.has_batch_norms = true;
  return model;
}
DrawnModel with_layer_norms(DrawnModel model) {
  model.has_layer_norms = true;
  return model;
}
DrawnModel recurrent(DrawnModel model) {
  model.is_recurrent = true;
  return model;
}

}  // namespace

DrawnModel draw_model(Draw& draw, std::int64_t most_elements) {
  switch (draw.between(0, 8)) {
    case 0: return recurrent(draw_recurrent<nn::LSTM, nn::LSTMOptions>("lstm", draw, most_elements));
    case 1: return recurrent(draw_recurrent<nn::GRU, nn::GRUOptions>("gru", draw, most_elements));
    case 2: return with_batch_norms(draw_convolutions(draw, most_elements));
    case 3: return with_layer_norms(draw_encoder(draw, most_elements));
    case 4: return draw_awkward(draw, most_elements);
    case 5: return draw_embeddings(draw, most_elements);
    case 6: return draw_wide(draw, most_elements);
    case 7: return recurrent(with_layer_norms(draw_mixed(draw, most_elements)));
    default: return with_layer_norms(draw_gpt(draw, most_elements));
  }
}

}  // namespace asterias::plans
