/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the counting of an entry's packets. */
#ifndef XEPC_USAGE_H
#define XEPC_USAGE_H

#include "layout.h"

/* Atomic: the packets of one entry may arrive on several CPUs, and no octet may be lost. */
static __always_inline void count_usage(struct usage *u, __u32 octets)
{
	__sync_fetch_and_add(&u->packets, 1);
	__sync_fetch_and_add(&u->octets, octets);
}

#endif
