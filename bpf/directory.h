/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the directories: small tables from a key to where its slots begin.
 *
 * A key stands in one of two buckets, each named by the high bits of a multiplication, and a bucket is one cache line
 * of four cells. User space places the keys (the first bucket while it has room) and keeps the directory at most three
 * quarters full, so that most lookups are one line. userplane/datapath/directory.go computes the same buckets.
 *
 * Where the keys are neighbours, as those of a pool's /24s are, the first bucket follows from the sum of the key's halves, and
 * the cell in it, too: user space takes that one while it is free. So most look-ups compare one key, in a branch that
 * the CPU guesses, and the cells of neighbours lie side by side.
 *
 * A directory that may have many keys grows, so that few of them are few cache lines: it consists of generations of as many
 * buckets each, of which 1, 2, 4 and so on are in use; the generation of a key is some bits of the same product. When their
 * number doubles, each key stays where it is or goes as many generations further, to buckets that were empty. */
#ifndef XEPC_DIRECTORY_H
#define XEPC_DIRECTORY_H

#include "maps.h"

/* Odd, and far from each other: any such pair does. */
#define DIRECTORY_FIRST 0x9E3779B97F4A7C15ULL
#define DIRECTORY_SECOND 0xD6E8FEB86659FD93ULL

/* prefix_key stands for the upper half of an IPv6 address in a network instance. Another half may have the same key:
 * whoever finds something by it compares the half. Keys of IPv4 never have bit 63. */
static __always_inline __u64 prefix_key(__u64 prefix, __u32 instance)
{
	return (prefix * DIRECTORY_FIRST + instance * DIRECTORY_SECOND) | 1ULL << 63;
}

/* block_key6 is the key of an IPv6 /56, half of whose addresses begins so. The low 32 bits are those of its number, so that
 * keys of neighbours are neighbours. */
static __always_inline __u64 block_key6(__u64 half, __u32 instance)
{
	return prefix_key(half >> 40, instance) >> 32 << 32 | (__u32)(half >> 8);
}

/* What a directory says of a key. A copy: pointers to one of many cells would be as many cases to the verifier. */
struct where {
	__u32 value;
	__u32 aux;
};

static __always_inline bool find_in(void *directory, __u32 index, __u64 key, struct where *at)
{
	struct bucket *bucket = bpf_map_lookup_elem(directory, &index);

	if (!bucket)
		return false;
#pragma unroll
	for (int i = 0; i < BUCKET_CELLS; i++)
		if (READ_ONCE(bucket->cells[i].key) == key) {
			at->value = READ_ONCE(bucket->cells[i].value);
			at->aux = READ_ONCE(bucket->cells[i].aux);
			/* The key may have moved to its second bucket meanwhile, and the cell be another's. */
			return likely(READ_ONCE(bucket->cells[i].key) == key);
		}
	return false;
}

/* find: buckets is how many there are, any number; key is not 0. */
static __always_inline bool find(void *directory, __u64 buckets, __u64 key, struct where *at)
{
	return likely(find_in(directory, (key * DIRECTORY_FIRST >> 32) * buckets >> 32, key, at)) ||
	       find_in(directory, (key * DIRECTORY_SECOND >> 32) * buckets >> 32, key, at);
}

static __always_inline __u32 bucket_of(__u64 product, __u64 buckets, __u32 generations)
{
	return ((product >> 32) * buckets >> 32) + ((__u32)product >> 20 & generations) * buckets;
}

/* find_grown: buckets are those of a generation, generations a mask, see struct growth. */
static __always_inline bool find_grown(void *directory, __u64 buckets, __u32 generations, __u64 key, struct where *at)
{
	return likely(find_in(directory, bucket_of(key * DIRECTORY_FIRST, buckets, generations), key, at)) ||
	       find_in(directory, bucket_of(key * DIRECTORY_SECOND, buckets, generations), key, at);
}

/* home_of is the number of the cell of a key among neighbours. */
static __always_inline __u32 home_of(__u64 key)
{
	return (__u32)key + (__u32)(key >> 32) * (__u32)DIRECTORY_FIRST;
}

/* find_home looks for a key in its own cell only; cells is a mask. */
static __always_inline bool find_home(void *directory, __u32 cells, __u64 key, struct where *at)
{
	__u32 home = home_of(key) & cells, index = home / BUCKET_CELLS;
	struct bucket *bucket = bpf_map_lookup_elem(directory, &index);
	struct cell *cell;

	if (!bucket)
		return false;
	cell = &bucket->cells[home % BUCKET_CELLS];
	if (READ_ONCE(cell->key) != key)
		return false;
	at->value = READ_ONCE(cell->value);
	return likely(READ_ONCE(cell->key) == key); /* see find_in() */
}

/* find_neighbour looks wherever such a key may be. */
static __always_inline bool find_neighbour(void *directory, __u32 cells, __u64 key, struct where *at)
{
	return find_in(directory, (home_of(key) & cells) / BUCKET_CELLS, key, at) ||
	       find_in(directory, (key * DIRECTORY_SECOND >> 32) * (cells / BUCKET_CELLS + 1) >> 32, key, at);
}

/* find_fronted: the first keys of the directory stand in a bucket of their own, after the others. What it says comes from
 * there without waiting for the key: the CPU guesses which cell it is, since it mostly is the same. */
static __always_inline bool find_fronted(void *directory, __u32 buckets, __u64 key, struct where *at)
{
	return likely(find_in(directory, buckets, key, at)) || find(directory, buckets, key, at);
}

#endif
