/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the directories: small tables from a key to where its slots begin.
 *
 * A key stands in one of two buckets, each named by the high bits of a multiplication, and a bucket is one cache line
 * of four cells. User space places the keys (the first bucket while it has room) and keeps the directory at most half
 * full, so that nearly every lookup is one line. userplane/datapath/directory.go computes the same buckets. */
#ifndef XEPC_DIRECTORY_H
#define XEPC_DIRECTORY_H

#include "maps.h"

/* Odd, and far from each other: any such pair does. */
#define DIRECTORY_FIRST 0x9E3779B97F4A7C15ULL
#define DIRECTORY_SECOND 0xD6E8FEB86659FD93ULL
#define DIRECTORY_SHIFT 40 /* 24 bits are left: 16 million buckets */

static __always_inline struct cell *find_in(void *directory, __u32 index, __u64 key)
{
	struct bucket *bucket = bpf_map_lookup_elem(directory, &index);

	if (!bucket)
		return NULL;
#pragma unroll
	for (int i = 0; i < BUCKET_CELLS; i++)
		if (READ_ONCE(bucket->cells[i].key) == key)
			return &bucket->cells[i];
	return NULL;
}

/* mask: number of buckets - 1. key is not 0. */
static __always_inline struct cell *find(void *directory, __u32 mask, __u64 key)
{
	struct cell *cell = find_in(directory, key * DIRECTORY_FIRST >> DIRECTORY_SHIFT & mask, key);

	if (likely(cell))
		return cell;
	return find_in(directory, key * DIRECTORY_SECOND >> DIRECTORY_SHIFT & mask, key);
}

#endif
