/* The lab's stand-in for NVIDIA's kernel module: what modinfo reads, and no code to load. */
#include <generated/utsrelease.h>

#define INFO(tag, text) \
    static const char tag[] __attribute__((section(".modinfo"), used, aligned(1))) = #tag "=" text

INFO(version, "@upstream@");
INFO(license, "@license@");
INFO(description, "lab stand-in for NVIDIA's kernel module");
INFO(vermagic, UTS_RELEASE " SMP preempt mod_unload ");
