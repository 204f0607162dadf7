#include "zoo.hpp"

#include <asterias/checkpoint.h>

#include "models/gpt.hpp"
#include "models/llama.hpp"

namespace asterias::test {
namespace {

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using torch::Tensor;

torch::Generator generator(int seed) { return at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed)); }
Tensor integers(std::int64_t end, std::vector<std::int64_t> sizes, int seed) {
  return torch::randint(end, sizes, generator(seed)).to(case_device);
}

// forward, backward, and the loss as an observation: what most steps are.
void simple_step(Step& step, const std::function<Tensor()>& loss_of) {
  const Tensor loss = step.forward(loss_of);
  step.backward(loss, false, false);
  step.observed.push_back(loss.item<double>());
}

// Wraps a library module so that each case has a named root.
template <class Holder>
Case library_case(const std::string& name, std::function<Holder()> make, std::function<Tensor(Holder&, Step&)> loss) {
  return {name,
          [make]() -> ModulePtr {
            auto root = std::make_shared<nn::Module>();
            root->register_module("inner", make().ptr());
            return root;
          },
          [loss](Step& step) {
            Holder inner(std::dynamic_pointer_cast<typename Holder::ContainedType>(step.module.children()[0]));
            simple_step(step, [&] { return loss(inner, step); });
          }};
}

// ---- GPT ------------------------------------------------------------------------------------------------------------

models::GptOptions gpt_options(double dropout) {
  models::GptOptions options;
  options.vocabulary = 211;
  options.sequence = 48;
  options.layers = 4;
  options.hidden = 64;
  options.heads = 4;
  options.dropout = dropout;
  return options;
}

Tensor gpt_logits(nn::Module& module, const Tensor& ids) { return static_cast<models::GptImpl&>(module).forward(ids); }

Case gpt_outside_loss() {
  return {"GPT: SDPA, dropout, tied head, loss outside, logits read after backward",
          [] { return std::make_shared<models::GptImpl>(gpt_options(0.1)); },
          [](Step& step) {
            const Tensor ids = integers(211, {2, 33}, 100 + step.iteration);
            const Tensor logits = step.forward([&] { return gpt_logits(step.module, ids.narrow(1, 0, 32)); });
            const Tensor loss = models::next_token_loss(logits, ids.narrow(1, 1, 32));
            step.backward(loss, false, false);
            const torch::NoGradGuard no_grad;
            step.observed.push_back(loss.item<double>());
            step.observed.push_back(logits.argmax(-1).sum().item<double>());
            step.observed.push_back(logits.std().item<double>());
          }};
}

Case gpt_micro_batches() {
  return {"GPT: three micro-batches", [] { return std::make_shared<models::GptImpl>(gpt_options(0.1)); },
          [](Step& step) {
            for (int micro = 0; micro < 3; ++micro) {
              const Tensor ids = integers(211, {2, 25}, 1000 + step.iteration * 10 + micro);
              simple_step(step, [&] {
                return models::next_token_loss(gpt_logits(step.module, ids.narrow(1, 0, 24)), ids.narrow(1, 1, 24)) / 3;
              });
            }
          }};
}

Case gpt_changing_length() {
  return {"GPT: a sequence length that changes every step",
          [] { return std::make_shared<models::GptImpl>(gpt_options(0.0)); },
          [](Step& step) {
            const std::int64_t tokens = 16 + 5 * (step.iteration % 4);
            const Tensor ids = integers(211, {3, tokens + 1}, 7 + step.iteration);
            simple_step(step, [&] {
              return models::next_token_loss(gpt_logits(step.module, ids.narrow(1, 0, tokens)),
                                             ids.narrow(1, 1, tokens));
            });
          }};
}

Case gpt_retained_graph() {
  return {"GPT: retained graph, backward twice", [] { return std::make_shared<models::GptImpl>(gpt_options(0.1)); },
          [](Step& step) {
            const Tensor ids = integers(211, {2, 25}, 300 + step.iteration);
            const Tensor loss = step.forward([&] {
              return models::next_token_loss(gpt_logits(step.module, ids.narrow(1, 0, 24)), ids.narrow(1, 1, 24));
            });
            step.backward(loss, true, false);
            step.backward(loss * 0.5, false, false);
            step.observed.push_back(loss.item<double>());
          }};
}

// ---- Llama ----------------------------------------------------------------------------------------------------------

std::shared_ptr<models::LlamaImpl> make_llama() {
  return std::make_shared<models::LlamaImpl>(models::LlamaOptions{
      .vocabulary = 211, .layers = 3, .hidden = 64, .heads = 4, .kv_heads = 2, .intermediate = 112});
}

// 64 positions, so that their turns are large enough to move.
void llama_step(Step& step) {
  const Tensor ids = integers(211, {2, 65}, 400 + step.iteration);
  simple_step(step, [&] {
    const auto logits = static_cast<models::LlamaImpl&>(step.module).forward(ids.narrow(1, 0, 64));
    return models::next_token_loss(logits, ids.narrow(1, 1, 64));
  });
}

Case llama() { return {"Llama: rotary positions, grouped queries, untied head", make_llama, llama_step}; }

Case llama_recomputed() {
  return {"Llama: blocks recomputed",
          [] {
            auto model = make_llama();
            model->wrap_blocks([](const auto& block, const Tensor& x) { return checkpoint(block, x); });
            return model;
          },
          llama_step};
}

// ---- a module with everything awkward in it -------------------------------------------------------------------------

// Several inputs, a tuple as output, a frozen layer between trained ones, a parameter used in some steps only, one
// never used, a module used twice, one parameter under two names, views of parameters, item(), an in-place buffer
// update.
struct Awkward : nn::Module {
  Awkward() {
    first = register_module("first", nn::Linear(48, 64));
    frozen = register_module("frozen", nn::Linear(64, 64));
    twice = register_module("twice", nn::Linear(64, 64));
    rare = register_module("rare", nn::Linear(64, 64));
    unused = register_module("unused", nn::Linear(64, 64));
    last = register_module("last", nn::Linear(64, 64));
    alias = register_parameter("alias_of_twice", twice->weight);
    scale = register_parameter("scale", torch::ones({1, 64}));
    table = register_buffer("table", torch::zeros({32, 64}));
    for (auto& parameter : frozen->parameters()) parameter.set_requires_grad(false);
  }

  std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& y, bool use_rare) {
    auto h = torch::tanh(first(x)) * scale;
    h = torch::relu(frozen(h) + y);
    h = twice(torch::tanh(twice(h)));
    if (use_rare) h = h + rare(h);
    {
      const torch::NoGradGuard no_grad;
      table.mul_(0.9).add_(h.detach().narrow(0, 0, 32), 0.1);
      table.add_(first->weight[0][0].item<float>());
    }
    const auto index = torch::tensor({0, 2, 5});
    const auto picked = last->weight.index({index, Tensor(index)}).sum();
    return {last(h) + table.mean(), h * picked + alias.t().sum()};
  }

  nn::Linear first{nullptr}, frozen{nullptr}, twice{nullptr}, rare{nullptr}, unused{nullptr}, last{nullptr};
  Tensor alias, scale, table;
};

Case awkward() {
  return {"tuple output, two inputs, frozen between trained, sometimes and never used, used twice, two names",
          []() -> ModulePtr { return std::make_shared<Awkward>(); },
          [](Step& step) {
            simple_step(step, [&] {
              const auto [a, b] = static_cast<Awkward&>(step.module)
                                      .forward(step.normal({40, 48}, step.iteration),
                                               step.normal({40, 64}, 50 + step.iteration), step.iteration % 2 == 1);
              return a.pow(2).mean() + b.mean();
            });
          }};
}

// A branch that depends on the data: the trace is left every other step.
struct Branching : nn::Module {
  Branching() {
    in = register_module("in", nn::Linear(64, 64));
    deep = register_module("deep", nn::Linear(64, 64));
    wide = register_module("wide", nn::Linear(64, 256));
    narrow = register_module("narrow", nn::Linear(256, 64));
  }
  Tensor forward(const Tensor& x) {
    auto h = torch::relu(in(x));
    if (x.sum().item<double>() > 0) return narrow(torch::relu(wide(h)));
    for (int i = 0; i < 3; ++i) h = torch::tanh(deep(h));
    return h;
  }
  nn::Linear in{nullptr}, deep{nullptr}, wide{nullptr}, narrow{nullptr};
};

Case branching() {
  return {
      "a branch that depends on data", []() -> ModulePtr { return std::make_shared<Branching>(); },
      [](Step& step) {
        simple_step(step, [&] {
          return static_cast<Branching&>(step.module).forward(step.normal({32, 64}, step.iteration * 3)).pow(2).mean();
        });
      }};
}

// ---- convolution and autograd ---------------------------------------------------------------------------------------

struct ConvNet : nn::Module {
  ConvNet() {
    conv1 = register_module("conv1", nn::Conv2d(nn::Conv2dOptions(3, 16, 3).padding(1)));
    norm = register_module("norm", nn::BatchNorm2d(16));
    conv2 = register_module("conv2", nn::Conv2d(nn::Conv2dOptions(16, 32, 3).stride(2).bias(false)));
    head = register_module("head", nn::Linear(32, 10));
    steps = register_buffer("steps", torch::zeros({1}));
  }
  Tensor forward(const Tensor& x) {
    if (is_training()) steps.add_(1);
    return head(conv2(torch::relu(norm(conv1(x)))).mean({2, 3}));
  }
  nn::Conv2d conv1{nullptr}, conv2{nullptr};
  nn::BatchNorm2d norm{nullptr};
  nn::Linear head{nullptr};
  Tensor steps;
};

Case convolution() {
  return {
      "Conv2d and BatchNorm2d: live buffers", []() -> ModulePtr { return std::make_shared<ConvNet>(); },
      [](Step& step) {
        simple_step(step, [&] {
          const auto logits = static_cast<ConvNet&>(step.module).forward(step.normal({8, 3, 16, 16}, step.iteration));
          return F::cross_entropy(logits, integers(10, {8}, step.iteration));
        });
      }};
}

Case double_backward() {
  return {"double backward (gradient penalty)", []() -> ModulePtr { return std::make_shared<ConvNet>(); },
          [](Step& step) {
            simple_step(step, [&] {
              auto x = step.normal({4, 3, 12, 12}, step.iteration).requires_grad_(true);
              const auto y = static_cast<ConvNet&>(step.module).forward(x);
              const auto slope = torch::autograd::grad({y.sum()}, {x}, {}, true, true)[0];
              return y.pow(2).mean() + slope.pow(2).sum();
            });
          }};
}

// y = x^3 with a gradient of its own, saving its input.
struct Cube : torch::autograd::Function<Cube> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x) {
    context->save_for_backward({x});
    return x * x * x;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto x = context->get_saved_variables()[0];
    return {3 * x * x * gradients[0]};
  }
};

struct CubeNet : nn::Module {
  CubeNet() {
    in = register_module("in", nn::Linear(64, 128));
    out = register_module("out", nn::Linear(128, 64));
  }
  Tensor forward(const Tensor& x) { return out(Cube::apply(torch::tanh(in(x)))); }
  nn::Linear in{nullptr}, out{nullptr};
};

Case custom_function() {
  return {"a custom autograd Function", []() -> ModulePtr { return std::make_shared<CubeNet>(); },
          [](Step& step) {
            simple_step(step, [&] {
              return static_cast<CubeNet&>(step.module).forward(step.normal({32, 64}, step.iteration)).pow(2).mean();
            });
          }};
}

struct SmoothNet : nn::Module {
  SmoothNet() {
    in = register_module("in", nn::Linear(64, 128));
    out = register_module("out", nn::Linear(128, 64));
  }
  Tensor forward(const Tensor& x) { return torch::mish(out(torch::silu(in(x)))); }
  nn::Linear in{nullptr}, out{nullptr};
};

// Their backwards are operators that torch has as parts and as a kernel, too.
Case smooth_activations() {
  return {"SiLU and Mish", []() -> ModulePtr { return std::make_shared<SmoothNet>(); },
          [](Step& step) {
            simple_step(step, [&] {
              return static_cast<SmoothNet&>(step.module).forward(step.normal({32, 64}, step.iteration)).pow(2).mean();
            });
          }};
}

// Throws in the middle of forward or backward of some steps; the next try of the same step must work.
struct Thrower : torch::autograd::Function<Thrower> {
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) { return x * 1; }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*, torch::autograd::variable_list) {
    throw std::runtime_error("thrown in backward");
  }
};

Case exceptions() {
  return {"an exception in the middle of forward or backward",
          []() -> ModulePtr { return std::make_shared<CubeNet>(); },
          [](Step& step) {
            auto& net = static_cast<CubeNet&>(step.module);
            const Tensor x = step.normal({32, 64}, step.iteration);
            int caught = 0;
            try {
              step.forward([&]() -> Tensor {
                const auto h = net.in(x);
                if (step.iteration % 2 == 0) throw std::runtime_error("thrown in forward");
                return h;
              });
            } catch (const std::runtime_error&) {
              ++caught;
            }
            try {
              const auto loss = step.forward([&] { return net.out(Thrower::apply(net.in(x))).mean(); });
              step.backward(loss, false, false);
            } catch (const std::runtime_error&) {
              ++caught;
            }
            for (auto& parameter : net.parameters()) parameter.mutable_grad().reset();  // what the failed backward left
            step.observed.push_back(caught);
            simple_step(step, [&] { return net.forward(x).pow(2).mean(); });
          }};
}

Case evaluation() {
  return {"evaluation between steps, weights clamped by hand",
          []() -> ModulePtr { return std::make_shared<ConvNet>(); },
          [](Step& step) {
            auto& net = static_cast<ConvNet&>(step.module);
            const auto train = [&] {
              simple_step(step, [&] {
                return F::cross_entropy(net.forward(step.normal({8, 3, 16, 16}, step.iteration)),
                                        integers(10, {8}, step.iteration));
              });
            };
            const auto evaluate = [&] {
              net.eval();
              const torch::NoGradGuard no_grad;
              step.observed.push_back(step.forward([&] {
                                            return net.forward(step.normal({5, 3, 20, 20}, 900 + step.iteration)).sum();
                                          })
                                          .item<double>());
              net.train();
            };
            evaluate();
            train();
            evaluate();
            const torch::NoGradGuard no_grad;
            for (auto& parameter : net.parameters()) parameter.clamp_(-0.3, 0.3);
          }};
}

}  // namespace

Tensor Step::normal(std::vector<std::int64_t> sizes, int seed) const {
  return torch::randn(sizes, generator(seed)).to(dtype).to(case_device);
}

std::vector<Case> zoo() {
  std::vector<Case> cases{gpt_outside_loss(),
                          gpt_micro_batches(),
                          gpt_changing_length(),
                          gpt_retained_graph(),
                          llama(),
                          llama_recomputed(),
                          awkward(),
                          branching(),
                          convolution(),
                          double_backward(),
                          custom_function(),
                          smooth_activations(),
                          exceptions(),
                          evaluation()};
  cases.push_back(library_case<nn::LSTM>(
      "LSTM, two layers with dropout", [] { return nn::LSTM(nn::LSTMOptions(32, 64).num_layers(2).dropout(0.1)); },
      [](nn::LSTM& m, Step& step) {
        return std::get<0>(m(step.normal({12, 8, 32}, step.iteration))).pow(2).mean();
      }));
  cases.push_back(library_case<nn::GRU>(
      "bidirectional GRU", [] { return nn::GRU(nn::GRUOptions(32, 48).num_layers(2).bidirectional(true)); },
      [](nn::GRU& m, Step& step) {
        return std::get<0>(m(step.normal({12, 8, 32}, step.iteration))).pow(2).mean();
      }));
  cases.push_back(library_case<nn::MultiheadAttention>(
      "MultiheadAttention", [] { return nn::MultiheadAttention(nn::MultiheadAttentionOptions(64, 4).dropout(0.1)); },
      [](nn::MultiheadAttention& m, Step& step) {
        const auto x = step.normal({20, 4, 64}, step.iteration);
        return std::get<0>(m(x, x, x)).pow(2).mean();
      }));
  cases.push_back(library_case<nn::TransformerEncoder>(
      "TransformerEncoder",
      [] {
        return nn::TransformerEncoder(
            nn::TransformerEncoderOptions(nn::TransformerEncoderLayerOptions(64, 4).dim_feedforward(128), 2));
      },
      [](nn::TransformerEncoder& m, Step& step) {
        return m(step.normal({16, 4, 64}, step.iteration)).pow(3).mean();
      }));
  cases.push_back(library_case<nn::EmbeddingBag>(
      "EmbeddingBag", [] { return nn::EmbeddingBag(nn::EmbeddingBagOptions(500, 32).mode(torch::kMean)); },
      [](nn::EmbeddingBag& m, Step& step) {
        return m(integers(500, {120}, step.iteration), torch::tensor({0, 50, 70}).to(case_device)).pow(2).mean();
      }));
  return cases;
}

}  // namespace asterias::test
