// Stands in for libtorch_cuda.so at link time where torch was built without CUDA, so that the library
// is linked to that name; at run time the real one answers.
extern "C" int aoti_torch_get_current_cuda_stream(int device, void** stream) {
  (void)device;
  (void)stream;
  return 1;
}
