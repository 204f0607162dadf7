#include "chunk/tier_pool.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/log.hpp"

namespace asterias::chunk {
namespace {

constexpr std::uint64_t kSmallAlignment = 64;
constexpr std::uint64_t kMostSmallBytes = 16 * kMiB;

std::byte* allocate_small(std::uint64_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kSmallAlignment, bytes));
  if (!memory) throw std::bad_alloc();
  return memory;
}

}  // namespace

// ---- Reservation and Block ------------------------------------------------------------------------------------------

Reservation::Reservation(Reservation&& other) noexcept
    : pool_(std::move(other.pool_)), bytes_(std::exchange(other.bytes_, 0)) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    give_back();
    pool_ = std::move(other.pool_);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

Reservation::~Reservation() { give_back(); }

void Reservation::give_back() noexcept {
  if (pool_) pool_->give_bytes(bytes_);
  pool_.reset();
  bytes_ = 0;
}

std::shared_ptr<TierPool> Reservation::release() noexcept {
  bytes_ = 0;
  return std::move(pool_);
}

Block::Block(Block&& other) noexcept
    : reservation_(std::move(other.reservation_)),
      pages_(std::move(other.pages_)),
      is_pinned_(std::exchange(other.is_pinned_, false)),
      data_(std::exchange(other.data_, nullptr)),
      order_(std::move(other.order_)),
      besides_(std::move(other.besides_)) {}

Block& Block::operator=(Block&& other) noexcept {
  if (this != &other) {
    give_back();
    reservation_ = std::move(other.reservation_);
    pages_ = std::move(other.pages_);
    is_pinned_ = std::exchange(other.is_pinned_, false);
    data_ = std::exchange(other.data_, nullptr);
    order_ = std::move(other.order_);
    besides_ = std::move(other.besides_);
  }
  return *this;
}

Block::~Block() { give_back(); }

void Block::give_back() noexcept {
  if (!data_) return;
  const std::uint64_t charged = bytes();
  const auto pool = reservation_.release();  // the bytes go back in one step with the memory
  std::byte* const data = std::exchange(data_, nullptr);
  const Order order = std::exchange(order_, {});
  if (pool->arena_ && !besides_) return pool->give_back_in_piece(data, charged, order);
  if (pool->poison_ && !besides_) std::memset(data, 0xFF, charged);
  if (pages_) return pool->give_pages(std::move(pages_), std::exchange(is_pinned_, false));
  if (!besides_ && !pool->is_hollow_) std::free(data);
  besides_.reset();
  pool->give_bytes(charged);
}

void Block::clear(std::uint64_t kept_at, std::uint64_t num_kept) {
  begin_use();
  const auto clear_range = [&](std::uint64_t begin, std::uint64_t end) {
    if (begin == end) return;
    if (pool()->accelerator_)
      pool()->accelerator_->compute().fill(data_ + begin, 0, end - begin);
    else if (!pool()->is_hollow_)
      std::memset(data_ + begin, 0, end - begin);
  };
  clear_range(0, kept_at);
  clear_range(kept_at + num_kept, bytes());
}

void Block::pin() {
  if (pages_ && !is_pinned_) is_pinned_ = pool()->pin(pages_);
}

void Block::begin_use() {
  order_.is_in_use = true;
  if (!pool()->accelerator_) return;
  for (const auto& point : order_.after) pool()->accelerator_->compute().wait_for(point);
  order_.after.clear();
}

void Block::end_use(device::SharedPoint end) noexcept {
  order_.computed = std::move(end);
  order_.is_in_use = false;
}

device::Ticket Block::copy_from(const std::byte* source, std::uint64_t bytes, device::LinkQueue& link) {
  for (const auto& point : order_.after) link.wait_for(point);
  auto ticket = link.copy(data_, source, bytes);
  order_ = {{}, ticket.point(), nullptr, /*is_in_use=*/false};
  return ticket;
}

device::Ticket Block::copy_to(std::byte* target, std::uint64_t bytes, device::LinkQueue& link) {
  link.wait_for(order_.copied);
  link.wait_for(order_.is_in_use ? pool()->accelerator_->compute().point() : order_.computed);
  auto ticket = link.copy(target, data_, bytes);
  order_.copied = ticket.point();
  return ticket;
}

// ---- TierPool -------------------------------------------------------------------------------------------------------

std::shared_ptr<TierPool> TierPool::create(Tier tier, std::uint64_t limit_bytes,
                                           std::function<std::uint64_t()> measure_foreign, std::uint64_t slack_bytes) {
  return std::shared_ptr<TierPool>(new TierPool(tier, limit_bytes, std::move(measure_foreign), slack_bytes));
}

std::shared_ptr<TierPool> TierPool::create_hollow(Tier tier, std::uint64_t limit_bytes) {
  auto pool = create(tier, limit_bytes);
  pool->is_hollow_ = true;
  return pool;
}

std::shared_ptr<TierPool> TierPool::create_in_one_piece(Tier tier, std::uint64_t limit_bytes,
                                                        std::shared_ptr<device::Accelerator> accelerator,
                                                        std::uint64_t small_bytes) {
  const std::uint64_t bytes =
      std::min(limit_bytes, accelerator->memory_bytes()) / device::kPageBytes * device::kPageBytes;
  const std::uint64_t reserved = accelerator->reserved_bytes();
  const auto measure = [reserved, accelerator] { return std::max(reserved, accelerator->library_bytes()); };
  auto pool = create(tier, bytes + reserved, measure);
  pool->arena_.emplace(accelerator->memory(), bytes - small_bytes);
  pool->small_arena_.emplace(accelerator->memory() + (bytes - small_bytes), small_bytes);
  pool->accelerator_ = std::move(accelerator);
  return pool;
}

std::uint64_t TierPool::small_share(std::uint64_t piece_bytes) {
  const std::uint64_t share = std::clamp(piece_bytes / 4, 4 * device::kPageBytes, kMostSmallBytes);
  return std::min(share, piece_bytes) / device::kPageBytes * device::kPageBytes;
}

TierPool::TierPool(Tier tier, std::uint64_t limit_bytes, std::function<std::uint64_t()> measure_foreign,
                   std::uint64_t slack_bytes)
    : tier_(tier),
      limit_bytes_(limit_bytes),
      measure_foreign_(std::move(measure_foreign)),
      slack_bytes_(measure_foreign_ ? slack_bytes : 0),
      foreign_bytes_(slack_bytes_) {
  refresh_foreign();
}

TierPool::~TierPool() = default;

std::uint64_t TierPool::charge(std::uint64_t bytes) {
  return bytes < device::kPageBytes ? round_up(std::max<std::uint64_t>(bytes, 1), kSmallAlignment)
                                    : round_up(bytes, device::kPageBytes);
}

bool TierPool::fits(std::uint64_t charged) const {
  if (limit_bytes_ == kUnlimited) return true;
  const std::uint64_t taken = used_bytes_ + foreign_bytes_;
  return taken <= limit_bytes_ && charged <= limit_bytes_ - taken;
}

void TierPool::pin_with(std::shared_ptr<device::HostPinner> pinner, std::uint64_t limit_bytes) {
  pinned_.emplace(std::move(pinner), limit_bytes);
}

bool TierPool::pin(const device::PageBlock& pages) {
  const Lock lock(mutex_);
  return pinned_ && pinned_->pin(pages, cache_);
}

std::optional<Block> TierPool::try_take(std::uint64_t bytes, End end, Pinned pinned) {
  const std::uint64_t charged = charge(bytes);
  if (arena_) return try_take_in_piece(charged, end);
  const bool is_of_pages = charged >= device::kPageBytes;
  Lock lock(mutex_);
  if (measure_foreign_ && limit_bytes_ != kUnlimited && is_of_pages && !is_at_hand(charged, pinned)) {
    lock.unlock();
    refresh_foreign();
    lock.lock();
  }
  if (!fits(charged)) return std::nullopt;
  if (auto block = is_of_pages ? take_cached(charged, pinned) : std::nullopt) return block;
  release_cache(charged);
  count_used(charged);
  lock.unlock();
  return make_block(charged);
}

bool TierPool::is_at_hand(std::uint64_t charged, Pinned pinned) const {
  return cache_.has(charged) || (pinned_ && pinned == Pinned::kFirst && pinned_->has(charged));
}

std::optional<Block> TierPool::take_cached(std::uint64_t charged, Pinned pinned) {
  if (pinned_ && pinned == Pinned::kFirst)
    if (auto pages = pinned_->take(charged)) return block_of(std::move(*pages), /*is_pinned=*/true);
  unpin_idle(excess(charged));
  if (auto pages = cache_.take(charged)) return block_of(std::move(*pages), /*is_pinned=*/false);
  return std::nullopt;
}

Block TierPool::block_of(device::PageBlock pages, bool is_pinned) {
  Block block;
  count_used(pages.bytes());
  block.reservation_ = Reservation(shared_from_this(), pages.bytes());
  block.pages_ = std::move(pages);
  block.is_pinned_ = is_pinned;
  block.data_ = block.pages_.data();
  return block;
}

std::optional<Block> TierPool::try_take_in_piece(std::uint64_t charged, End end) {
  const Lock lock(mutex_);
  auto range = charged < device::kPageBytes ? small_arena_->take(charged, end) : std::nullopt;
  if (!range) range = arena_->take(charged, end);
  if (!range) return std::nullopt;
  count_used(charged);
  Block block;
  block.reservation_ = Reservation(shared_from_this(), charged);
  block.data_ = range->data;
  block.order_.after = std::move(range->after);
  return block;
}

// Whoever has the range next comes after the last copy and the last use; who had it before, and is not over, the arena
// remembers. A device that is lost says so to whoever uses it next. Where only the order could not be had, nobody may
// use the range.
void TierPool::give_back_in_piece(std::byte* data, std::uint64_t charged, const Block::Order& order) noexcept {
  device::SharedPoint computed = order.computed;
  try {
    if (poison_) poison_in_piece(data, charged, order);
    if (poison_ || order.is_in_use) computed = accelerator_->compute().point();
  } catch (const CudaError& error) {
    if (error.cause() != CudaError::Cause::kLost) {
      log::warning(format_bytes(charged) + " of the accelerator's memory are out of use from now on: " + error.what());
      return;
    }
  }
  const Lock lock(mutex_);
  used_bytes_ -= charged;
  arena_of(data).give_back(data, {order.copied, std::move(computed)});
}

// By the compute stream, which need not have come after those who used the memory before.
void TierPool::poison_in_piece(std::byte* data, std::uint64_t charged, const Block::Order& order) {
  device::Stream& compute = accelerator_->compute();
  std::vector<device::SharedPoint> after;
  {
    const Lock lock(mutex_);
    after = arena_of(data).after(data);
  }
  for (const auto& point : after) compute.wait_for(point);
  compute.wait_for(order.copied);
  compute.fill(data, 0xFF, charged);
}

device::OrderedArena& TierPool::arena_of(const std::byte* data) {
  return data < accelerator_->memory() + arena_->book().bytes() ? *arena_ : *small_arena_;
}

bool TierPool::has_place(std::uint64_t bytes) const {
  const Lock lock(mutex_);
  if (!arena_ || charge(bytes) <= arena_->book().largest_hole()) return true;
  return charge(bytes) < device::kPageBytes && charge(bytes) <= small_arena_->book().largest_hole();
}

std::optional<TierPool::Place> TierPool::cheapest_place(std::uint64_t bytes, const Cost& cost) const {
  const Lock lock(mutex_);
  const std::byte* const memory = accelerator_->memory();
  const auto window =
      arena_->book().window(charge(bytes), [&](std::uint64_t offset, std::uint64_t) { return cost(memory + offset); });
  if (!window) return std::nullopt;
  return Place{memory + window->offset, memory + window->offset + window->bytes};
}

Block TierPool::take_beyond_limit(std::uint64_t bytes) {
  const std::uint64_t charged = charge(bytes);
  std::shared_ptr<std::byte> besides;
  if (accelerator_) {
    besides = accelerator_->take_besides(charged);
    if (!besides) return {};
  }
  {
    const Lock lock(mutex_);
    release_cache(charged);
    count_used(charged);
  }
  if (!besides) return make_block(charged);
  Block block;
  block.reservation_ = Reservation(shared_from_this(), charged);
  block.data_ = besides.get();
  block.besides_ = std::move(besides);
  return block;
}

// REQUIRES: `charged` is counted, the lock is free: populating pages takes time.
Block TierPool::make_block(std::uint64_t charged) {
  Block block;
  block.reservation_ = Reservation(shared_from_this(), charged);
  if (is_hollow_) {
    block.data_ = reinterpret_cast<std::byte*>(this);
  } else if (charged < device::kPageBytes) {
    block.data_ = allocate_small(charged);
  } else {
    block.pages_ = device::PageBlock(charged);
    block.data_ = block.pages_.data();
  }
  return block;
}

std::optional<Reservation> TierPool::try_reserve(std::uint64_t bytes) {
  const Lock lock(mutex_);
  if (!fits(bytes)) return std::nullopt;
  release_cache(bytes);
  count_used(bytes);
  return Reservation(shared_from_this(), bytes);
}

std::uint64_t TierPool::shortfall(std::uint64_t bytes) const {
  if (limit_bytes_ == kUnlimited) return 0;
  const Lock lock(mutex_);
  if (arena_) {  // what lies besides takes no room of it
    const auto& book = arena_->book();
    const std::uint64_t wanted = book.taken_bytes() + round_up(charge(bytes), device::ArenaBook::kGrain);
    return wanted > book.bytes() ? wanted - book.bytes() : 0;
  }
  const std::uint64_t wanted = used_bytes_ + foreign_bytes_ + charge(bytes);
  return wanted > limit_bytes_ ? wanted - limit_bytes_ : 0;
}

void TierPool::refresh_foreign() {
  if (!measure_foreign_) return;
  const std::uint64_t foreign = measure_foreign_() + slack_bytes_;
  const Lock lock(mutex_);
  foreign_bytes_ = std::max(foreign_bytes_, foreign);
  note_peaks();
  release_cache(0);
}

void TierPool::stop_caching() {
  trim();
  const Lock lock(mutex_);
  caches_ = false;
}

void TierPool::trim() {
  const Lock lock(mutex_);
  unpin_idle(UINT64_MAX);
  cache_.clear();
}

// Counts what `charged` more bytes would pass the limit by, together with all that is cached.
std::uint64_t TierPool::excess(std::uint64_t charged) const {
  if (limit_bytes_ == kUnlimited) return 0;
  const std::uint64_t wanted = used_bytes_ + foreign_bytes_ + cached() + charged;
  return wanted > limit_bytes_ ? wanted - limit_bytes_ : 0;
}

// Adds pages of pinned blocks to the others until those are `bytes`, or all: what is not pinned goes first, since to
// pin costs more than to map.
void TierPool::unpin_idle(std::uint64_t bytes) {
  while (pinned_ && pinned_->idle_bytes() > 0 && cache_.bytes() < bytes) cache_.put(pinned_->unpin_oldest());
}

// Gives cached pages back until `charged` more bytes stay below the limit together with the rest of the cache. Under
// the lock: were they unmapped after it, another thread could map its pages first and pass the limit.
void TierPool::release_cache(std::uint64_t charged) {
  const std::uint64_t bytes = excess(charged);
  unpin_idle(bytes);
  cache_.give_back(bytes);
}

void TierPool::count_used(std::uint64_t charged) {
  used_bytes_ += charged;
  note_peaks();
}

void TierPool::note_peaks() {
  peak_used_bytes_ = std::max(peak_used_bytes_, used_bytes_);
  peak_held_bytes_ = std::max(peak_held_bytes_, used_bytes_ + foreign_bytes_ - slack_bytes_);
}

void TierPool::give_bytes(std::uint64_t charged) noexcept {
  const Lock lock(mutex_);
  used_bytes_ -= charged;
}

void TierPool::give_pages(device::PageBlock pages, bool is_pinned) noexcept {
  const Lock lock(mutex_);
  used_bytes_ -= pages.bytes();
  if (is_pinned && caches_) return pinned_->put(std::move(pages));
  if (is_pinned) pinned_->unpin(pages);
  if (!caches_) return;  // unmapped here, under the lock, as in release_cache
  cache_.put(std::move(pages));
}

std::uint64_t TierPool::used_bytes() const {
  const Lock lock(mutex_);
  return used_bytes_;
}

std::uint64_t TierPool::foreign_bytes() const {
  const Lock lock(mutex_);
  return foreign_bytes_;
}

std::uint64_t TierPool::cached_bytes() const {
  const Lock lock(mutex_);
  return cached();
}

std::uint64_t TierPool::pinned_bytes() const {
  const Lock lock(mutex_);
  return pinned_ ? pinned_->pinned_bytes() : 0;
}

std::uint64_t TierPool::peak_used_bytes() const {
  const Lock lock(mutex_);
  return peak_used_bytes_;
}

std::uint64_t TierPool::library_bytes() const {
  const Lock lock(mutex_);
  return foreign_bytes_ - slack_bytes_;
}

std::uint64_t TierPool::held_bytes() const {
  const Lock lock(mutex_);
  return used_bytes_ + foreign_bytes_ - slack_bytes_;
}

std::uint64_t TierPool::peak_held_bytes() const {
  const Lock lock(mutex_);
  return peak_held_bytes_;
}

void TierPool::reset_peak() {
  const Lock lock(mutex_);
  peak_used_bytes_ = used_bytes_;
  peak_held_bytes_ = used_bytes_ + foreign_bytes_ - slack_bytes_;
}

}  // namespace asterias::chunk
