// Lets OpenMP's idle threads sleep instead of spin.
//
// libgomp's threads spin for milliseconds after each parallel loop. Beside the update's and the disk's threads, or
// anything else that runs on the machine, they take the cores from whoever has work: with one of two cores busy, a step
// takes 20 times as long. Asleep they cost microseconds per loop. libgomp reads its settings while it is loaded, so
// they must be there before main().
//
// Threading: main thread, while it is the only one.
#pragma once

namespace asterias::tools {

// Starts this program anew with OMP_WAIT_POLICY=passive, unless that or GOMP_SPINCOUNT is set already. Returns when
// there is nothing to do, or when it cannot be done: a slower run is no error. Keeps the process id; costs one more
// start of the program (0.2 s). REQUIRES: nothing was printed or opened that must not happen twice.
void let_idle_threads_sleep(char** argv);

}  // namespace asterias::tools
