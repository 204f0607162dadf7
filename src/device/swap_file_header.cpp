#include "device/swap_file_header.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unistd.h>

namespace asterias::device {
namespace {

constexpr std::array<char, 16> kMagic{'A', 'S', 'T', 'E', 'R', 'I', 'A', 'S', ' ', 'S', 'W', 'A', 'P'};

std::array<char, 256> host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) name.fill('\0');
  return name;
}

// The second field of /proc/self/stat is the program's name in parentheses and may hold spaces and parentheses itself.
std::uint64_t process_start_ticks() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::uint64_t ticks = 0;
  fields >> ticks;
  return ticks;
}

}  // namespace

SwapFileHeader own_swap_file_header() {
  SwapFileHeader header{};
  header.magic = kMagic;
  header.version = 1;
  header.pid = static_cast<std::uint32_t>(getpid());
  header.process_start_ticks = process_start_ticks();
  header.created_unix_seconds = static_cast<std::uint64_t>(std::time(nullptr));
  header.host = host_name();
  return header;
}

std::optional<SwapFileHeader> parse_swap_file_header(std::span<const std::byte> block) {
  SwapFileHeader header{};
  if (block.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, block.data(), sizeof header);
  if (header.magic != kMagic) return std::nullopt;
  header.host.back() = '\0';
  return header;
}

std::string host_in_file_names() {
  std::string name = host_name().data();
  const auto stays = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
  std::replace_if(
      name.begin(), name.end(), [&](char c) { return !stays(static_cast<unsigned char>(c)); }, '_');
  return name.empty() ? "host" : name;
}

}  // namespace asterias::device
