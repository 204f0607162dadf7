#include "device/simulated_accelerator.hpp"

#include <cstring>
#include <string>

#include "base/byte_size.hpp"
#include "device/copy_stream.hpp"
#include "device/page_block.hpp"

namespace asterias::device {
namespace {

// The calling thread computes, so what was enqueued has ended, and waiting for a point is the thread's own.
class HostStream final : public Stream {
 public:
  StreamHandle handle() const override { return {}; }
  SharedPoint point() override { return nullptr; }
  void wait_for(const SharedPoint& point) override {
    if (point) point->wait();
  }
  void fill(std::byte* memory, std::uint8_t byte, std::uint64_t bytes) override {
    if (bytes > 0) std::memset(memory, byte, bytes);
  }
  void copy(std::byte* to, const std::byte* from, std::uint64_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
};

class SimulatedLink final : public LinkQueue {
 public:
  explicit SimulatedLink(std::uint64_t bytes_per_second) : stream_(bytes_per_second) {}
  Ticket copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
    return stream_.copy(to, from, bytes);
  }
  void wait_for(const SharedPoint& point) override {
    if (point) point->wait();
  }

 private:
  CopyStream stream_;
};

// The links copy from and to any memory alike.
class SimulatedPinner final : public HostPinner {
 public:
  bool pin(std::byte*, std::uint64_t) override { return true; }
  void unpin(std::byte*, std::uint64_t) noexcept override {}
};

class SimulatedAccelerator final : public Accelerator {
 public:
  explicit SimulatedAccelerator(const SimulatedOptions& options)
      : memory_(round_up(options.memory_bytes, kPageBytes)),
        to_device_(options.to_device_bytes_per_second),
        to_host_(options.to_host_bytes_per_second) {}

  const std::string& name() const override { return name_; }
  std::byte* memory() const override { return memory_.data(); }
  std::uint64_t memory_bytes() const override { return memory_.bytes(); }
  bool is_host_memory() const override { return true; }
  std::shared_ptr<std::byte> take_besides(std::uint64_t bytes) override {
    const auto pages = std::make_shared<const PageBlock>(round_up(bytes, kPageBytes));
    return {pages, pages->data()};
  }
  std::uint64_t reserved_bytes() const override { return 0; }
  std::uint64_t library_bytes() const override { return 0; }
  void adopt_thread() override {}
  std::shared_ptr<HostPinner> host_pinner() override { return host_pinner_; }
  Stream& compute() override { return compute_; }
  LinkQueue& to_device() override { return to_device_; }
  LinkQueue& to_host() override { return to_host_; }

 private:
  const std::string name_ = "simulated";
  const PageBlock memory_;
  const std::shared_ptr<HostPinner> host_pinner_ = std::make_shared<SimulatedPinner>();
  HostStream compute_;
  SimulatedLink to_device_, to_host_;
};

}  // namespace

std::unique_ptr<Accelerator> make_simulated_accelerator(const SimulatedOptions& options) {
  return std::make_unique<SimulatedAccelerator>(options);
}

}  // namespace asterias::device
