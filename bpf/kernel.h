/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains what every other one needs of the kernel's and libbpf's headers. Minimum kernel: 6.1. */
#ifndef XEPC_KERNEL_H
#define XEPC_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* One load or store, neither repeated, split nor left out by the compiler: for words that user space shares. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/* bounded tells the verifier what is true already: n has no bits beyond mask. Kernels before 6.13 take a byte swap for a
 * number without bounds, and 6.1 a small subtraction. The barrier keeps the compiler from knowing better. */
static __always_inline __u32 bounded(__u32 n, __u32 mask)
{
	asm volatile("" : "+r"(n));
	return n & mask;
}

/* length_of reads a length from a packet. */
static __always_inline __u32 length_of(__be16 field)
{
	return bounded(bpf_ntohs(field), 0xffff);
}

#endif
