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
	LAYOUT = 12,
};

/* ---- entries ---------------------------------------------------------------------------------------------- */

enum entry_flag {
	ENTRY_VALID = 1 << 0,
	ENTRY_CHECK_SOURCE = 1 << 1, /* the inner source must be the UE's: IPv4 value, or in the IPv6 prefix */
	ENTRY_DROP = 1 << 2,
	ENTRY_GATE_CLOSED = 1 << 3,
	ENTRY_NO_HEADER = 1 << 4, /* to access, but there is no outer header to create */
	ENTRY_SET = 1 << 5,       /* value is the number of a rule set, to how many filters it has: see rules.h */
	ENTRY_TUNNEL = 1 << 6,    /* leaves by a tunnel: value is the remote TEID, to the index of peers */
	ENTRY_BUFFER = 1 << 7,    /* the slow path gets the packet */
	ENTRY_WHOLE = 1 << 8,     /* of a rule that leaves by a tunnel: with the outer header that it came with inside */
	ENTRY_REDIRECT = 1 << 9,  /* of a rule: to another destination. With ENTRY_BUFFER: the slow path answers */
	ENTRY_DRAINING = 1 << 10, /* with ENTRY_BUFFER: what the slow path gives back is forwarded; see struct gate */
	ENTRY_CELLED = 1 << 15,   /* what it counts stands in cells, and not in the entry */
};

/* What an entry counted, unless its rules count in cells. Only rises; only the program writes it while the entry is in
 * use. */
struct usage {
	__u64 packets;
	__u64 octets; /* of inner IP packets */
};

/* A policer: see policing.h. */
struct meter {
	__s64 tokens; /* 1e-6 bit, which is kbit/s times ns */
	__u64 last;   /* ns of CLOCK_MONOTONIC, of the last refill */
	__u32 rate;   /* kbit/s; 0: not limited */
	__u32 watch;  /* of an entry: the low 32 bits of its octets at which an event goes out, or enum watch */
};

enum watch {
	WATCH_NONE,
	WATCH_TOLD, /* the event has gone out; user space sets the watch anew */
};

/* Changed by one 8-octet store. */
struct word {
	__be32 value; /* IPv4 source to check, remote TEID, or number of a rule set (host order): the flags say which */
	__u16 to;     /* index of next_hops, or of peers; or how many filters */
	__u16 flags;  /* enum entry_flag */
};

/* The rule of a key when there is one and it has no filters; else word names the rule set. One cache line. */
struct entry {
	__be32 key; /* 0: free. TEID, slot and generation: all of it must match. Or the UE's IPv4 address, or enum ue_key */
	__u32 cell; /* index of cells, 0: none */
	struct word word;
	struct usage usage; /* of all rules, unless they count in cells */
	struct meter meter;
	__be64 prefix; /* by F-TEID the IPv6 /64 that sources are checked against, 0: none; by UE what else must match: an IPv6
			* /64, or of an IPv4 address the number of its network instance */
};

/* What stands in the place of an IPv4 address: its first octet, the lowest, would be 240 or more. */
enum ue_key {
	UE_PREFIX6 = 0xf0,	/* | number of the network instance << 8: an IPv6 /64, prefix */
	UE_ROUTED = 0xfeffffff, /* found by the longest prefix: nothing left to compare */
};

/* One of several rules of a key, or one with filters. Immutable while an entry leads to it. One cache line. */
enum {
	RULE_CELLS = 6,
	RULE_METERS = 4,
	RULE_COPIES = 4,
};

struct rule {
	struct word word; /* never ENTRY_SET */
	__u32 account;    /* index of accounts */
	__u32 special;    /* index of specials; 0: none */
	__u32 cells[RULE_CELLS];
	__u32 meters[RULE_METERS]; /* those that other rules share */
	__u8 tos;                  /* of the packet itself, where it leaves without tunnel */
	__u8 tos_mask;
	__u8 pad[6];
};

/* What few rules want. Immutable like a rule. One cache line. */
struct special {
	__be64 redirect6[2];             /* destination instead of the packet's; 0: none of this family */
	struct word copies[RULE_COPIES]; /* tunnels that get one, TS 29.244 5.2.3; flags 0: none */
	__be32 redirect4;
	__u32 pad[3];
};

/* What a rule of a set counts, and its own policer. It outlives the set: the next one's rule of the same PDR has it. One
 * cache line. */
struct account {
	struct usage usage;
	struct meter meter;
	__u64 pad[3];
};

enum filter_family {
	FILTER_IPV4 = 1 << 0,
	FILTER_IPV6 = 1 << 1,
};

/* What a filter compares as one number, in struct facts and struct filter. Two bits of a filter's mask say that more is to
 * be compared; they are 0 in every number. */
enum trait {
	TRAIT_PROTOCOL_SHIFT = 0,
	TRAIT_TOS_SHIFT = 8,
	TRAIT_QFI_SHIFT = 16,
	TRAIT_IPV6 = 1 << 24,       /* else IPv4 */
	TRAIT_PORTS = 1 << 25,      /* the packet has ports */
	TRAIT_SPI = 1 << 26,        /* it has a security parameter index */
	TRAIT_LONG = 1 << 27,       /* of a mask: a prefix has more than 64 bits */
	TRAIT_FLOW_LABEL = 1 << 28, /* of a mask */
};

/* One way to match a rule, TS 29.244 8.2.5. The sources that a rule allows are local addresses. One cache line. */
struct filter {
	__u32 traits; /* those of the packet, enum trait, where mask has bits */
	__u32 mask;
	__u16 remote_first; /* of the ports that match, host order */
	__u16 remote_more;  /* how many after it */
	__u16 local_first;
	__u16 local_more;
	__u64 remote[2]; /* host order; IPv4 in the high half of the first */
	__u64 local[2];
	__u8 remote_bits; /* that count, of 128 */
	__u8 local_bits;
	__u8 remote_shift; /* of the first 64 bits, what is not compared: 64 without prefix */
	__u8 local_shift;
	__u32 rule; /* index of rules */
	__u32 spi;
	__u32 flow_label;
};

/* Rules in the order of their precedence: the first filter that matches decides. Immutable while an entry leads to
 * it. The same in three sizes. */
enum {
	SET_SMALL = 2,
	SET_MEDIUM = 8,
	SET_LARGE = 32,
	SET_CLASS_SHIFT = 28, /* of a set's number: small, medium, large; below it the index */
};

struct set_small {
	struct filter filters[SET_SMALL];
};

struct set_medium {
	struct filter filters[SET_MEDIUM];
};

struct set_large {
	struct filter filters[SET_LARGE];
};

/* ---- usage cells: see usage.h ------------------------------------------------------------------------------- */

enum direction {
	UPLINK,
	DOWNLINK,
};

/* What a URR counts in. Only rises. */
struct usage_cell {
	__u64 octets[2]; /* by direction. Bit 63: the cell has limits */
	__u64 packets[2];
};

struct cell_origin {
	__u64 seid;
	__u32 urr_id; /* 8.2.54 */
	__u32 limits; /* index of limits */
	__u32 drops;  /* enum cell_drops */
	__u32 pad;
};

/* Packets that a cell counts although they were dropped. */
enum cell_drops {
	CELL_QOS_DROPS = 1 << 0, /* beside those that are forwarded: what a gate or a policer dropped, TS 29.244 8.2.68 MBQE */
	CELL_FAR_DROPS = 1 << 1, /* of rules that forward nothing: what their FAR dropped */
};

enum limited {
	LIMITED_UPLINK,
	LIMITED_DOWNLINK,
	LIMITED_TOTAL,
};

/* Absolute counts of octets; 0: none. */
struct limits {
	__u64 thresholds[3]; /* enum limited */
	__u64 quotas[3];
	__u32 raised; /* bits: those that were told of; thresholds from bit 0, quotas from bit 8 */
	__u32 cell;   /* whose they are; 0: free */
	__u64 pad;
};

struct shared_meter {
	struct meter meter;
	__u64 pad;
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
	__u32 value; /* slices, blocks: first slot; slices by IPv6: index of services. ports: number of the network instance */
	__u32 aux;   /* slices: mask of the TEID's slot bits. ports: enum side */
};

enum {
	BUCKET_CELLS = 4, /* one cache line */
};

struct bucket {
	struct cell cells[BUCKET_CELLS];
};

/* How far the directories that grow have grown: generations in use, less one, which is a mask. */
struct growth {
	__u32 teids;
	__u32 hosts;
};

enum side {
	SIDE_ACCESS = 1 << 0,
	SIDE_CORE = 1 << 1,
};

/* ---- buffered packets: see slowpath.h ------------------------------------------------------------------------- */

/* Keeps the packets of an entry in their order while those that were buffered are given back: as long as one that had to
 * wait has not left, a new one waits behind it. Several entries may share a gate; their packets then wait for each
 * other's. */
struct gate {
	__u64 parked;     /* packets that had to wait, by the program; and one for those from before, by user space */
	__u64 returned;   /* of them, those that have left or are lost, by user space */
	__u64 passed;     /* packets that user space gave back, as far as the program has seen them */
	__u32 generation; /* of the counts: another one whenever they begin anew. Packets of a former one do not count */
	__u32 pad;
};

enum {
	GATES = 4096, /* gate of an entry: its slot's low bits */
};

/* ---- where packets go ----------------------------------------------------------------------------------------- */

/* One end of our tunnels to one remote GTP-U entity. Immutable while an entry points to it. One cache line. */
struct peer {
	__be32 local;   /* address of the slice */
	__be32 remote;  /* address of the SGW; 0: IPv6 */
	__u16 checksum; /* ones' complement sum of the outer IPv4 header without total length and identification; of IPv6, of
			 * the pseudo-header without length (RFC 8200 8.1) */
	__u16 outer;    /* octets of all that stands before an inner packet: IP, UDP, GTP-U and its container */
	__u8 tos;       /* of the outer header */
	__u8 qfi;       /* of the PDU Session Container; NO_QFI: none is sent */
	__u16 pad;
	__be64 local6[2];
	__be64 remote6[2];
	__u64 spare[2];
};

enum {
	NO_QFI = 0xff,
};

/* How to reach a next hop. */
struct hop {
	__u8 remote_mac[ETH_ALEN];
	__u8 local_mac[ETH_ALEN];
	__u32 ifindex; /* 0: not resolved */
	__u16 mtu;     /* octets of an IP packet */
	__u16 vlan;    /* its tag; 0: none */
	__u32 pad2;
};

/* User space follows routes and neighbours and keeps this resolved. It writes the hop that is not active, after all
 * programs that could still read it are done, and then changes active by one store. */
struct next_hop {
	__u32 active; /* 0 or 1 */
	__u32 ue_to_ue; /* of a network instance: packets to its UEs turn here */
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
	__be64 gateway6[2];
	__be64 local6[2];
	__u32 table; /* of the kernel, whose default routes are the gateways now; 0: they are configured */
	__u32 spare;
};

/* A slice: TEIDs, and the addresses that they are behind, of which there is at least one. 32 octets. */
struct service {
	__be64 address6[2]; /* 0: none */
	__be32 address;	    /* 0: none */
	__u32 base;	    /* its first slot of uplink */
	__u32 mask;	    /* of the TEID's slot bits */
	__u32 pad;
};

/* Who shares a meter. */
struct meter_origin {
	__u64 seid;
	__u32 qer_id;
	__u32 owner;
	__u32 correlation;
	__u32 direction; /* enum direction */
};

/* What the maps beside it were made by. */
struct about {
	enum layout layout; /* written last: 0 when the daemon that made the maps did not finish */
	__u32 instances;    /* how many next hops each family has before those of the peers */
};

#endif
