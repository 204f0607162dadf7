// Kernels on arrays of the host: each call carries them into an accelerator's memory, launches, and carries back what
// was written. The copies lie as far from a multiple of 64 bytes as the arrays do.
#pragma once

#include <cstring>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "device/accelerator.hpp"
#include "hybrid_adam/kernel_calls.hpp"
#include "hybrid_adam/norm.hpp"

namespace asterias::hybrid_adam::testing {

class RoundTrip final : public KernelCalls {
 public:
  RoundTrip(KernelCalls& kernels, device::Accelerator& accelerator) : kernels_(kernels), accelerator_(accelerator) {}

  int update(const UpdateGrid& grid, device::StreamHandle) override {
    Trip trip(accelerator_);
    UpdateGrid there = grid;
    for (std::uint32_t n = 0; n < grid.num_segments; ++n) {
      UpdateArrays& a = there.segments[n].arrays;
      a.param = trip.there_and_back(a.param, a.count);
      a.grad.data = trip.there(a.grad.data, a.count * size_bytes(a.grad.type));
      a.param_out.data = trip.there_and_back(a.param_out.data, a.count * sizeof(std::uint16_t));
      for (MomentArray* moment : {&a.exp_avg, &a.exp_avg_sq}) *moment = trip.there_and_back(*moment, a.count);
    }
    return trip.end(kernels_.update(there, stream()));
  }

  int accumulate(float* into, ConstNumbers from, std::size_t count, device::StreamHandle) override {
    Trip trip(accelerator_);
    from.data = trip.there(from.data, count * size_bytes(from.type));
    return trip.end(kernels_.accumulate(trip.there_and_back(into, count), from, count, stream()));
  }

  int cast(const float* from, Numbers16 to, std::size_t count, device::StreamHandle) override {
    Trip trip(accelerator_);
    to.data = trip.there_and_back(to.data, count * sizeof(std::uint16_t));
    return trip.end(kernels_.cast(trip.there(from, count), to, count, stream()));
  }

  int decode(Moment moment, const MomentArray& from, float* to, std::size_t count, device::StreamHandle) override {
    Trip trip(accelerator_);
    const MomentArray source = trip.there_and_back(from, count);
    return trip.end(kernels_.decode(moment, source, trip.there_and_back(to, count), count, stream()));
  }

  int encode(Moment moment, const float* from, const MomentArray& to, std::size_t count, std::uint32_t first_element,
             std::uint64_t key, device::StreamHandle) override {
    Trip trip(accelerator_);
    const MomentArray sink = trip.there_and_back(to, count);
    return trip.end(kernels_.encode(moment, trip.there(from, count), sink, count, first_element, key, stream()));
  }

  int sum_blocks(const SquareSumGrid& grid, double* block_sums, device::StreamHandle) override {
    Trip trip(accelerator_);
    SquareSumGrid there = grid;
    for (std::uint32_t n = 0; n < grid.num_arrays; ++n) {
      ConstNumbers& values = there.arrays[n].values;
      values.data = trip.there(values.data, grid.arrays[n].count * size_bytes(values.type));
    }
    return trip.end(kernels_.sum_blocks(there, trip.there_and_back(block_sums, grid.num_blocks), stream()));
  }

  int sum_arrays(const SquareSumGrid& grid, const double* block_sums, double* sums, device::StreamHandle) override {
    Trip trip(accelerator_);
    const double* const source = trip.there(block_sums, grid.num_blocks);
    return trip.end(kernels_.sum_arrays(grid, source, trip.there_and_back(sums, grid.num_arrays), stream()));
  }

  const char* error_text(int error) override { return kernels_.error_text(error); }

 private:
  // The arrays of one call.
  class Trip {
   public:
    explicit Trip(device::Accelerator& accelerator) : accelerator_(accelerator) { accelerator.adopt_thread(); }

    template <class T>
    const T* there(const T* array, std::size_t count) {
      return static_cast<const T*>(carry(array, count * sizeof(T)));
    }
    const void* there(const void* array, std::size_t bytes) { return carry(array, bytes); }
    template <class T>
    T* there_and_back(T* array, std::size_t count) {
      return static_cast<T*>(there_and_back(static_cast<void*>(array), count * sizeof(T)));
    }
    void* there_and_back(void* array, std::size_t bytes) {
      void* const there = carry(array, bytes);
      if (there) returning_.push_back({static_cast<std::byte*>(array), static_cast<std::byte*>(there), bytes});
      return there;
    }
    MomentArray there_and_back(MomentArray moment, std::size_t count) {
      const std::size_t blocks = (count + kBlock8Elements - 1) / kBlock8Elements;
      moment.data = there_and_back(moment.data, count * size_bytes(moment.codec));
      moment.absmax = there_and_back(moment.absmax, blocks);
      return moment;
    }

    int end(int error) {
      accelerator_.to_host().wait_for(accelerator_.compute().point());
      std::vector<device::Ticket> tickets;
      for (const Array& array : returning_)
        tickets.push_back(accelerator_.to_host().copy(array.host, array.there, array.bytes));
      for (device::Ticket& ticket : tickets) ticket.wait();
      return error;
    }

   private:
    struct Array {
      std::byte *host, *there;
      std::size_t bytes;
    };

    // An array that has been carried already is not carried twice: the output may lie in the gradient's place.
    void* carry(const void* array, std::size_t bytes) {
      if (!array) return nullptr;
      auto* const host = static_cast<std::byte*>(const_cast<void*>(array));
      for (const Array& carried : carried_)
        if (carried.host == host && carried.bytes == bytes) return carried.there;
      const std::uint64_t offset = round_up(used_, 256) + reinterpret_cast<std::uintptr_t>(host) % 64;
      used_ = offset + bytes;
      CATCH_REQUIRE(used_ <= accelerator_.memory_bytes());
      std::byte* const there = accelerator_.memory() + offset;
      device::Ticket ticket = accelerator_.to_device().copy(there, host, bytes);
      device::start_after(accelerator_.compute(), ticket);
      carried_.push_back({host, there, bytes});
      return there;
    }

    device::Accelerator& accelerator_;
    std::uint64_t used_ = 0;
    std::vector<Array> carried_, returning_;
  };

  device::StreamHandle stream() const { return accelerator_.compute().handle(); }

  KernelCalls& kernels_;
  device::Accelerator& accelerator_;
};

}  // namespace asterias::hybrid_adam::testing
