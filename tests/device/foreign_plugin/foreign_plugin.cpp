extern "C" const char* asterias_cuda_interface() { return "0.0.0-foreign"; }
