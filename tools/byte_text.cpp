#include "tools/byte_text.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"

namespace asterias::tools {

ByteText::ByteText(const std::string& path, std::int64_t sequence, std::uint64_t seed)
    : path_(path),
      descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)),
      sequence_(static_cast<std::size_t>(sequence)),
      generator_(seed),
      window_(sequence_ + 1) {
  const auto refuse = [&](const std::string& why) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw ConfigError("--data " + path_ + ": " + why);
  };
  if (descriptor_ < 0) refuse(std::strerror(errno));
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) refuse(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse("is not a regular file");
  num_bytes_ = static_cast<std::uint64_t>(status.st_size);
  if (num_bytes_ == 0) refuse("is empty");
  if (num_bytes_ < window_.size())
    refuse("holds " + std::to_string(num_bytes_) + " bytes, and sequences of " + std::to_string(sequence) +
           " need at least " + std::to_string(window_.size()) + "; name a longer text or lower --seq");
}

ByteText::~ByteText() { ::close(descriptor_); }

void ByteText::next_batch(std::span<std::int64_t> inputs, std::span<std::int64_t> targets) {
  const std::uint64_t num_windows = num_bytes_ - window_.size() + 1;
  for (std::size_t row = 0; row < inputs.size(); row += sequence_) {
    // Not uniform_int_distribution, which may differ between standard libraries; the bias of % is below 2^-30 for a
    // file of 8 GiB.
    read_window(generator_() % num_windows);
    for (std::size_t i = 0; i < sequence_; ++i) {
      inputs[row + i] = window_[i];
      targets[row + i] = window_[i + 1];
    }
  }
}

void ByteText::read_window(std::uint64_t offset) {
  for (std::size_t done = 0; done < window_.size();) {
    const auto num_read =
        ::pread(descriptor_, window_.data() + done, window_.size() - done, static_cast<off_t>(offset + done));
    if (num_read < 0 && errno == EINTR) continue;
    // The end of the file comes too early only when somebody has cut it since it was opened.
    if (num_read <= 0) throw IoError(num_read < 0 ? errno : ENODATA, path_, offset + done, "reading");
    done += static_cast<std::size_t>(num_read);
  }
}

}  // namespace asterias::tools
