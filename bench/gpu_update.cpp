// Measures the update's CUDA kernels on a card, format by format, against the card's own copy of its memory, and the
// link between host and card with pinned and with pageable memory. Bits are test_hybrid_adam "[gpu]"'s business.
//
// GB/s are by formula, bytes that must be read plus bytes that must be written. A round is some launches in a row and
// one wait; the median over rounds counts, each as a ratio to the copy of the same round.
//
//   bench_gpu_update [--device 0] [--elements 67108864] [--rounds 9]    prints one JSON object; without a card says why
//   not and returns 77
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/median.hpp"
#include "device/cuda_accelerator.hpp"
#include "device/cuda_plugin.hpp"
#include "device/pinned_memory.hpp"
#include "hybrid_adam/cuda_kernels.hpp"
#include "hybrid_adam/device_kernels.hpp"

namespace {

using namespace asterias;
using namespace asterias::hybrid_adam;

constexpr int kLaunches = 20;
constexpr int kNoCard = 77;

struct Options {
  int device = 0;
  std::size_t elements = std::size_t{64} << 20;
  int rounds = 9;
};

struct Row {
  std::string name;
  double bytes_per_param;
  std::function<void()> launch;
};

// Memory of the card, handed out from its start.
class Card {
 public:
  explicit Card(device::Accelerator& accelerator) : accelerator_(accelerator) {
    accelerator.compute().fill(accelerator.memory(), 0x3c, accelerator.memory_bytes());  // 0.0115 as an fp32
  }
  template <class T>
  T* array(std::size_t count) {
    std::byte* const memory = accelerator_.memory() + used_;
    used_ += round_up(count * sizeof(T), 512);
    if (used_ > accelerator_.memory_bytes()) throw CudaError(CudaError::Cause::kTooSmall, "fewer --elements would fit");
    return reinterpret_cast<T*>(memory);
  }
  double seconds_of(const std::function<void()>& launch) {
    accelerator_.compute().point()->wait();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kLaunches; ++i) launch();
    accelerator_.compute().point()->wait();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kLaunches;
  }

 private:
  device::Accelerator& accelerator_;
  std::uint64_t used_ = 0;
};

MomentArray moments(Card& card, StateCodec codec, std::size_t count) {
  if (codec == StateCodec::kFloat32) return card.array<float>(count);
  if (codec == StateCodec::kBfloat16) return card.array<Bfloat16>(count);
  return Block8{card.array<std::uint8_t>(count), card.array<float>(count / kBlock8Elements + 1)};
}

std::vector<Row> update_rows(Card& card, const DeviceKernels& kernels, device::StreamHandle stream, std::size_t count) {
  const UpdateConstants constants = make_update_constants(HyperParameters{}, 7);
  float* const param = card.array<float>(count);
  float* const grad = card.array<float>(count);
  auto* const half = card.array<Bfloat16>(count);
  std::vector<Row> rows;
  for (StateCodec codec : {StateCodec::kFloat32, StateCodec::kBfloat16, StateCodec::kBlock8}) {
    const MomentArray exp_avg = moments(card, codec, count), exp_avg_sq = moments(card, codec, count);
    const double absmax = codec == StateCodec::kBlock8 ? 4.0 / kBlock8Elements : 0.0;
    const double moment_bytes = 4.0 * (static_cast<double>(size_bytes(codec)) + absmax);
    const auto add = [&](const std::string& name, const UpdateArrays& arrays, double other_bytes) {
      const UpdateSegment segment{constants, arrays};
      rows.push_back({name + ", state " + codec_name(codec), other_bytes + moment_bytes, [=, &kernels] {
                        kernels.update(stream, Algorithm::kAdamW, {&segment, 1});
                      }});
    };
    add("fp32", {param, grad, exp_avg, exp_avg_sq, count}, 12);
    add("bf16 in its gradient's place", {param, half, exp_avg, exp_avg_sq, count, half}, 12);
  }
  auto* const sums = card.array<double>(count / 4096 + 2);
  rows.push_back({"sum of squares of bf16", 2.0, [=, &kernels] {
                    const NumberArray array{half, count};
                    kernels.sums_of_squares(stream, {&array, 1}, sums + 1, sums);
                  }});
  return rows;
}

// GB/s of a direction, one copy after another.
double link_speed(device::LinkQueue& link, std::byte* to, const std::byte* from, std::size_t bytes) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<device::Ticket> tickets;
  for (int i = 0; i < kLaunches; ++i) tickets.push_back(link.copy(to, from, bytes));
  for (device::Ticket& ticket : tickets) ticket.wait();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return kLaunches * static_cast<double>(bytes) / seconds.count() * 1e-9;
}

nlohmann::json measure_link(device::Accelerator& accelerator) {
  constexpr std::size_t kBytes = 64 * kMiB;
  const device::PinnedMemory pinned(accelerator.host_pinner(), kBytes);
  const device::PageBlock pageable(kBytes);
  std::byte* const there = accelerator.memory();
  return {{"is_pinned", pinned.is_pinned()},
          {"h2d_pinned_gb_per_s", link_speed(accelerator.to_device(), there, pinned.data(), kBytes)},
          {"d2h_pinned_gb_per_s", link_speed(accelerator.to_host(), pinned.data(), there, kBytes)},
          {"h2d_pageable_gb_per_s", link_speed(accelerator.to_device(), there, pageable.data(), kBytes)},
          {"d2h_pageable_gb_per_s", link_speed(accelerator.to_host(), pageable.data(), there, kBytes)}};
}

nlohmann::json measure(const Options& options) {
  const device::CudaPlugin& plugin = device::CudaPlugin::open();
  device::CudaOptions cuda_options;
  cuda_options.index = options.device;
  cuda_options.library_growth_bytes = 512 * kMiB;
  const auto accelerator = device::open_cuda_accelerator(plugin.calls(), cuda_options);
  const DeviceKernels kernels(cuda_kernels(plugin));
  const device::StreamHandle stream = accelerator->compute().handle();
  Card card(*accelerator);
  auto* const copied = card.array<float>(2 * options.elements);
  const std::uint64_t copied_bytes = options.elements * sizeof(float);
  const Row copy{"copy within the card", 8.0,
                 [&] { plugin.calls().copy(copied + options.elements, copied, copied_bytes, stream); }};
  nlohmann::json result{{"card", accelerator->name()}, {"elements", options.elements}};
  for (const Row& row : update_rows(card, kernels, stream, options.elements)) {
    std::vector<double> speeds, ratios;
    for (int round = 0; round <= options.rounds; ++round) {
      const auto speed_of = [&](const Row& of) {
        return of.bytes_per_param * static_cast<double>(options.elements) / card.seconds_of(of.launch) * 1e-9;
      };
      const double of_copy = speed_of(copy), speed = speed_of(row);
      if (round == 0) continue;
      speeds.push_back(speed);
      ratios.push_back(speed / of_copy);
    }
    result["rows"].push_back({{"name", row.name},
                              {"bytes_per_param", row.bytes_per_param},
                              {"gb_per_s", median(speeds)},
                              {"ratio_to_copy", median(ratios)}});
  }
  result["link"] = measure_link(*accelerator);
  return result;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const long long value = std::atoll(argv[i + 1]);
    if (flag == "--device") options.device = static_cast<int>(value);
    if (flag == "--elements") options.elements = static_cast<std::size_t>(value);
    if (flag == "--rounds") options.rounds = static_cast<int>(value);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) try {
  std::cout << measure(parse(argc, argv)).dump(2) << '\n';
  return 0;
} catch (const asterias::CudaError& error) {
  std::cerr << "bench_gpu_update: nothing was measured: " << error.what() << '\n';
  return error.cause() == asterias::CudaError::Cause::kFailed ? 1 : kNoCard;
}
