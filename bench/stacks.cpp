#include "bench/stacks.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <memory>
#include <string_view>

#include <cxxabi.h>
#include <execinfo.h>

namespace asterias::bench {
namespace {

std::string program_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

// Where the program itself was loaded.
std::uintptr_t program_base() {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(&program_base), &info);
  return reinterpret_cast<std::uintptr_t>(info.dli_fbase);
}

bool is_beneath_us(std::string_view library) {
  for (const std::string_view name :
       {"libc.", "libc-", "libstdc++", "libgcc_s", "libpthread", "libm.", "ld-linux", "libc10", "[vdso]", "linux-vdso"})
    if (library.find(name) != std::string_view::npos) return true;
  return false;
}

// libtorch has folders called csrc/.
bool is_ours(const std::string& file) {
  for (const char* folder : {"base", "device", "chunk", "evict", "hybrid_adam", "comm", "runtime"}) {
    const auto found = file.rfind(std::string("src/") + folder + "/");
    if (found != std::string::npos && (found == 0 || file[found - 1] == '/')) return true;
  }
  return false;
}

bool is_template_of_others(const std::string& file) {
  return file.find("/include/") != std::string::npos || file.find("??") == 0;
}

// Reads what `addr2line -a -i -f -C` prints: an address, then two lines for each function inlined there, innermost
// first.
std::unordered_map<std::uintptr_t, std::vector<Place>> read_places(std::FILE* pipe) {
  std::unordered_map<std::uintptr_t, std::vector<Place>> places;
  std::uintptr_t address = 0;
  std::string line, function;
  char* text = nullptr;
  std::size_t room = 0;
  while (::getline(&text, &room, pipe) > 0) {
    line.assign(text, std::strcspn(text, "\n"));
    if (line.starts_with("0x")) {
      address = std::strtoull(line.c_str(), nullptr, 16);
      function.clear();
    } else if (function.empty()) {
      function = line;
    } else {
      const auto colon = line.rfind(':');
      places[address].push_back({function, line.substr(0, colon), std::atoi(line.c_str() + colon + 1)});
      function.clear();
    }
  }
  std::free(text);
  return places;
}

}  // namespace

void Stack::prepare() { take(0); }

Stack Stack::take(int skipped) {
  Stack stack;
  std::array<void*, kDepth + 8> all;
  const int depth = ::backtrace(all.data(), static_cast<int>(all.size()));
  for (int i = skipped; i < depth && stack.depth < kDepth; ++i)
    stack.frames[static_cast<std::size_t>(stack.depth++)] = all[static_cast<std::size_t>(i)];
  return stack;
}

StackNames::StackNames(const std::vector<Stack>& stacks) {
  std::vector<void*> in_program;
  const auto base = program_base();
  for (const auto& stack : stacks)
    for (int i = 0; i < stack.depth; ++i) {
      void* const frame = stack.frames[static_cast<std::size_t>(i)];
      if (frames_.contains(frame)) continue;
      Dl_info info{};
      const bool is_known = dladdr(frame, &info) != 0;
      const bool is_program = is_known && reinterpret_cast<std::uintptr_t>(info.dli_fbase) == base;
      const bool is_beneath = !is_known || (info.dli_fname && is_beneath_us(info.dli_fname));
      frames_[frame] = {!is_program && is_beneath ? Owner::kBeneath : Owner::kOthers};
      if (is_program) in_program.push_back(frame);
    }
  name_program_frames(in_program);
}

// A frame is where its call returns to: one byte before that is the call.
void StackNames::name_program_frames(const std::vector<void*>& addresses) {
  constexpr std::size_t kAtOnce = 2000;  // a command line has an end
  const auto offset = [base = program_base()](void* address) {
    return reinterpret_cast<std::uintptr_t>(address) - base - 1;
  };
  for (std::size_t begin = 0; begin < addresses.size(); begin += kAtOnce) {
    const std::size_t end = std::min(addresses.size(), begin + kAtOnce);
    std::string command = "addr2line -a -i -f -C -e '" + program_path() + "'";
    for (std::size_t i = begin; i < end; ++i) {
      char text[32];
      std::snprintf(text, sizeof text, " 0x%" PRIxPTR, offset(addresses[i]));
      command += text;
    }
    std::FILE* const pipe = popen((command + " 2> /dev/null").c_str(), "r");
    if (!pipe) return;
    const auto places = read_places(pipe);
    pclose(pipe);
    for (std::size_t i = begin; i < end; ++i)
      if (const auto found = places.find(offset(addresses[i])); found != places.end())
        frames_[addresses[i]] = classify(found->second);
  }
}

StackNames::Frame StackNames::classify(const std::vector<Place>& inlined) {
  for (const auto& place : inlined) {
    if (is_ours(place.file)) return {Owner::kOurs, place};
    if (!is_template_of_others(place.file)) return {Owner::kOthers, place};
  }
  return {Owner::kBeneath, {}};
}

const Place* StackNames::own_place(const Stack& stack) const {
  for (int i = 0; i < stack.depth; ++i) {
    const Frame& frame = frames_.at(stack.frames[static_cast<std::size_t>(i)]);
    if (frame.owner == Owner::kOurs) return &frame.place;
    if (frame.owner == Owner::kOthers) return nullptr;
  }
  return nullptr;
}

std::string StackNames::other_function(const Stack& stack) const {
  for (int i = 0; i < stack.depth; ++i) {
    void* const address = stack.frames[static_cast<std::size_t>(i)];
    if (frames_.at(address).owner != Owner::kOthers) continue;
    Dl_info info{};
    if (dladdr(address, &info) == 0 || !info.dli_sname) continue;
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), &std::free);
    return status == 0 ? name.get() : info.dli_sname;
  }
  return "a model or benchmark";
}

}  // namespace asterias::bench
