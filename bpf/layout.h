/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the structs that user space and the program share through the maps of maps.h.
 *
 * Every table is an array that both sides map into memory. Nothing is a copy that could tear:
 *   - the key of an element is written last when it is made and cleared first when it goes;
 *   - what changes while it is in use is one aligned 8-octet word, or an immutable element behind an index;
 *   - an element is written anew only after every program that could have seen the old one is done
 *     (membarrier in user space waits for them).
 * LAYOUT changes with every struct and every meaning in this file. */
#ifndef XEPC_LAYOUT_H
#define XEPC_LAYOUT_H

#include "kernel.h"

enum layout {
	LAYOUT = 1,
};

/* ---- entries ---------------------------------------------------------------------------------------------- */

enum entry_flag {
	ENTRY_VALID = 1 << 0,
	ENTRY_CHECK_SOURCE = 1 << 1, /* uplink: the inner source must be word.source */
	ENTRY_DROP = 1 << 2,
	ENTRY_GATE_CLOSED = 1 << 3,
	ENTRY_NO_HEADER = 1 << 4, /* downlink: there is no outer header to create */
};

/* What an entry counted. Only rises; only the program writes it while the entry is in use. */
struct usage {
	__u64 packets;
	__u64 octets; /* of inner IP packets */
};

/* A policer: see policing.h. */
struct meter {
	__s64 tokens; /* 1e-6 bit, which is kbit/s times ns */
	__u64 last;   /* ns of CLOCK_MONOTONIC, of the last refill */
	__u32 rate;   /* kbit/s; 0: not limited */
	__u32 pad;
};

/* Changed by one 8-octet store. */
struct uplink_word {
	__be32 source;  /* UE address */
	__u16 next_hop; /* index of next_hops */
	__u16 flags;    /* enum entry_flag */
};

struct downlink_word {
	__be32 remote_teid;
	__u16 peer;  /* index of peers */
	__u16 flags; /* enum entry_flag */
};

struct uplink_entry {
	__be32 teid; /* 0: free. Slot and generation: all of it must match */
	__u32 pad;
	struct uplink_word word;
	struct usage usage;
	struct meter meter;
	__u64 spare;
};

struct downlink_entry {
	__be32 ue; /* 0: free */
	__u32 pad;
	struct downlink_word word;
	struct usage usage;
	struct meter meter;
	__u64 spare;
};

/* Which rules an entry came from. The program never reads it: it is for the tables that people read, also while no
 * daemon runs. TS 29.244. */
struct origin {
	__u64 seid;       /* of the UP function */
	__u32 far_id;     /* 8.2.74 */
	__u32 qer_id;     /* 8.2.75; means something with has_qer */
	__u32 urr_id;     /* 8.2.54; means something with has_urr */
	__u32 precedence; /* 8.2.11 */
	__u16 pdr_id;     /* 8.2.36 */
	__u8 has_qer;
	__u8 has_urr;
	__u32 pad;
};

/* ---- directories: where an address's slots begin (directory.h) ---------------------------------------------- */

struct cell {
	__u64 key;   /* 0: free */
	__u32 value; /* slices, blocks: first slot. ports: number of the network instance */
	__u32 aux;   /* slices: mask of the TEID's slot bits. ports: enum side */
};

enum {
	BUCKET_CELLS = 4, /* one cache line */
};

struct bucket {
	struct cell cells[BUCKET_CELLS];
};

enum side {
	SIDE_ACCESS = 1 << 0,
	SIDE_CORE = 1 << 1,
};

/* ---- where packets go ----------------------------------------------------------------------------------------- */

/* One end of our tunnels to one remote GTP-U entity. Immutable while an entry points to it. */
struct peer {
	__be32 local;  /* address of the slice */
	__be32 remote; /* address of the SGW */
	__u32 next_hop; /* index of next_hops */
	__u16 checksum; /* ones' complement sum of the outer IPv4 header without total length and identification */
	__u8 tos;       /* of the outer IPv4 header */
	__u8 pad;
};

/* How to reach a next hop. */
struct hop {
	__u8 remote_mac[ETH_ALEN];
	__u8 local_mac[ETH_ALEN];
	__u32 ifindex; /* 0: not resolved */
	__u16 mtu;     /* octets of an IP packet */
	__u16 pad;
	__u32 pad2;
};

/* User space follows routes and neighbours and keeps this resolved. It writes the hop that is not active, after all
 * programs that could still read it are done, and then changes active by one store. */
struct next_hop {
	__u32 active; /* 0 or 1 */
	__u32 pad;
	struct hop hops[2];
	__u64 spare;
};

/* ---- for people and for the next daemon ------------------------------------------------------------------------ */

/* A network instance; its number, from 1, is the key. */
struct instance {
	__be32 gateway;
	__be32 local; /* the node's own address in it, for ICMP messages; 0: none */
	__u8 length;    /* of name; 0: free */
	__u8 name[100]; /* TS 23.003 9.1 */
	__u8 pad[3];
};

/* What the maps beside it were made by. */
struct about {
	enum layout layout; /* written last: 0 when the daemon that made the maps did not finish */
	__u32 instances;    /* how many next hops stand before those of the peers */
};

#endif
