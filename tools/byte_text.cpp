#include "tools/byte_text.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"

namespace asterias::tools {

ByteText::ByteText(const std::string& path) : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
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
}

ByteText::~ByteText() { ::close(descriptor_); }

void ByteText::read(std::uint64_t offset, std::span<unsigned char> bytes) const {
  for (std::size_t done = 0; done < bytes.size();) {
    const auto num_read =
        ::pread(descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (num_read < 0 && errno == EINTR) continue;
    // The end of the file comes too early only when somebody has cut it since it was opened.
    if (num_read <= 0) throw IoError(num_read < 0 ? errno : ENODATA, path_, offset + done, "reading");
    done += static_cast<std::size_t>(num_read);
  }
}

}  // namespace asterias::tools
