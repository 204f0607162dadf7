// Gives back the pages of program and libraries that the process has mapped but may never look at again.
//
// A start of libtorch runs through most of its code once, to register its operators, and the kernel maps whole folios
// of the page cache around each fault: 70 to 150 MiB stay resident, of which a training step uses a third or so.
//
// Threading: thread-safe; other threads may run meanwhile, at the price of a page fault each time they meet a page
// again.
#pragma once

namespace asterias {

// Unmaps the read-only pages of all loaded objects; what is used again comes back from the page cache. Pages that were
// written to after they were mapped (relocations, breakpoints) are left alone. Takes some milliseconds.
void release_library_pages();

}  // namespace asterias
