/* A libnvidia-ml.so.1 with two H100, so that the real nvidia-ml-py and Ray's own agents have something to load.
 * Signatures: "NVML API Reference Guide" R580. What is missing here is "function not found" to its callers.
 * The second falls off the bus as soon as the file that STAND_IN_LOST names is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ret;
typedef void *device;
enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, GPUS = 2 };
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, memory; } rates;

static char handles[GPUS];
static int number(device d) { return (int)((char *)d - handles); }

ret nvmlInit_v2(void) { return SUCCESS; }
ret nvmlInitWithFlags(unsigned int flags) { (void)flags; return SUCCESS; }
ret nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(ret code) { (void)code; return "an error of the stand-in"; }
ret nvmlSystemGetDriverVersion(char *out, unsigned int size) { snprintf(out, size, "570.133.20"); return SUCCESS; }
ret nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return SUCCESS; }
ret nvmlDeviceGetCount_v2(unsigned int *out) { *out = GPUS; return SUCCESS; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned int index, device *out) {
  const char *sign = getenv("STAND_IN_LOST");
  if (index == 1 && sign && access(sign, F_OK) == 0) return GPU_IS_LOST;
  *out = handles + index;
  return SUCCESS;
}
ret nvmlDeviceGetName(device d, char *out, unsigned int size) {
  (void)d;
  snprintf(out, size, "NVIDIA H100 80GB HBM3");
  return SUCCESS;
}
ret nvmlDeviceGetUUID(device d, char *out, unsigned int size) {
  snprintf(out, size, "GPU-0000000%d-0000-0000-0000-000000000000", number(d));
  return SUCCESS;
}
ret nvmlDeviceGetMemoryInfo(device d, memory *out) {
  out->total = 81559ULL << 20;
  out->used = (unsigned long long)(1000 * (number(d) + 1)) << 20;
  out->free = out->total - out->used;
  return SUCCESS;
}
ret nvmlDeviceGetUtilizationRates(device d, rates *out) { out->gpu = 25 * (number(d) + 1); out->memory = 0; return SUCCESS; }
ret nvmlDeviceGetTemperature(device d, int sensor, unsigned int *out) { (void)sensor; *out = 50 + number(d); return SUCCESS; }
ret nvmlDeviceGetMigMode(device d, unsigned int *now, unsigned int *next) {
  (void)d;
  *now = *next = 0;
  return SUCCESS;
}
ret nvmlDeviceGetNvLinkState(device d, unsigned int link, unsigned int *out) {
  (void)d;
  *out = 1;
  return link < 18 ? SUCCESS : NOT_SUPPORTED;
}
ret nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned int *count, void *out) {
  (void)d; (void)out;
  *count = 0;
  return SUCCESS;
}
ret nvmlDeviceGetGraphicsRunningProcesses_v3(device d, unsigned int *count, void *out) {
  (void)d; (void)out;
  *count = 0;
  return SUCCESS;
}
