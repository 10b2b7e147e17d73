/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the maps that user space writes and the program reads. Sizes are set from the configuration before
 * load. BPF_F_MMAPABLE lets user space write by stores, and aligns an array to a page, so that a 64-octet element is
 * one cache line. */
#ifndef XEPC_MAPS_H
#define XEPC_MAPS_H

#include "layout.h"

/* An array that both sides map into memory. Most get their size when they are loaded. */
#define TABLE(name, element, size)                       \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_ARRAY);        \
		__uint(map_flags, BPF_F_MMAPABLE);       \
		__type(key, __u32);                      \
		__type(value, element);                  \
		__uint(max_entries, size);               \
		__uint(pinning, LIBBPF_PIN_BY_NAME);     \
	} name SEC(".maps")

/* slot = base of the slice + low bits of the TEID; any other of the slice through teids */
TABLE(uplink, struct entry, 1);

/* slot = base of the block + last octet of the UE's address or /64; any other through hosts or routes */
TABLE(downlink, struct entry, 1);
TABLE(uplink_origin, struct origin, 1); /* by slot of uplink */
TABLE(downlink_origin, struct origin, 1); /* by slot of downlink */

/* TEIDs that are not in their own slot. key: (base of the slice + 1) << 32 | TEID, in host order */
TABLE(teids, struct bucket, 1);

/* UEs that are in no block. key: number of the network instance << 32 | UE address in host order; of an IPv6 /64 see
 * prefix_key() */
TABLE(hosts, struct bucket, 1);
TABLE(growths, struct growth, 1);

/* Other prefixes of UEs: framed routes, and IPv6 prefixes that are no /64. */
struct route_key {
	__u32 bits;     /* of what follows */
	__be32 instance;
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route_key);
	__type(value, __u32); /* slot of downlink */
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} routes SEC(".maps");

TABLE(rules, struct rule, 1);
TABLE(accounts, struct account, 1); /* 0 is nobody's */
TABLE(account_origins, struct origin, 1); /* by index of accounts */
TABLE(specials, struct special, 1); /* 0 is nobody's */
TABLE(sets_small, struct set_small, 1);
TABLE(sets_medium, struct set_medium, 1);
TABLE(sets_large, struct set_large, 1);
TABLE(cells, struct usage_cell, 1); /* 0 is nobody's */
TABLE(cell_origins, struct cell_origin, 1);
TABLE(limits, struct limits, 1); /* 0 is nobody's */
TABLE(meters, struct shared_meter, 1); /* 0 is nobody's */
TABLE(meter_origins, struct meter_origin, 1);

/* key: 1 << 32 | GTP-U service address, as it stands in the packet; of IPv6 see find_slice6() */
TABLE(slices, struct bucket, 1);

/* key: number of the network instance << 32 | UE address >> 8, in host order; of an IPv6 /56 see block_key6() */
TABLE(blocks, struct bucket, 1);

/* key: VLAN << 32 | interface index */
TABLE(ports, struct bucket, 1);
TABLE(peers, struct peer, 1);
TABLE(services, struct service, 1);

/* By number of the network instance for IPv4, the same for IPv6, then by peer. */
TABLE(next_hops, struct next_hop, 1);
TABLE(gates, struct gate, GATES);

/* Interfaces that packets may leave by; the key is the interface index. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} tx_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct instance);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} instances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct about);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} about SEC(".maps");

#endif
