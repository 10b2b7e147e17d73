/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains GTP-U, TS 29.281: the parser of a G-PDU and the outer header of one that we send. */
#ifndef XEPC_GTPU_H
#define XEPC_GTPU_H

#include "layout.h"
#include "parse.h"

#define GTPU_PORT 2152 /* TS 29.281 4.4.2.3 */
#define GTPU_G_PDU 255 /* TS 29.281 6.1 */

#define GTPU_VERSION_1 0x30      /* version 1, protocol type GTP */
#define GTPU_VERSION_MASK 0xf0   /* version and protocol type */
#define GTPU_FLAG_EXTENSION 0x04 /* E */
#define GTPU_FLAGS_OPTIONAL 0x07 /* E, S, PN: any of them brings all four optional octets */

#define GTPU_MAX_EXTENSIONS 8 /* ours: nobody sends more than two */

/* The mandatory header, TS 29.281 5.1. */
struct gtpu_header {
	__u8 flags;
	__u8 type;
	__be16 length; /* of what follows these 8 octets */
	__be32 teid;
};

/* Present when any of E, S and PN is set. */
struct gtpu_optional {
	__be16 sequence;
	__u8 n_pdu;
	__u8 next_extension;
};

static __always_inline bool is_g_pdu(const struct gtpu_header *gtpu)
{
	return (gtpu->flags & GTPU_VERSION_MASK) == GTPU_VERSION_1 && gtpu->type == GTPU_G_PDU;
}

/* skip_extensions steps over chained extension headers, TS 29.281 5.2.1: each begins with its length in units of 4
 * octets, itself included, and ends with the type of the next. */
static __always_inline bool skip_extensions(struct cursor *c, __u8 next)
{
	for (int i = 0; i < GTPU_MAX_EXTENSIONS && next; i++) {
		__u8 *length = take(c, 1);
		__u8 *last;

		if (!length || !*length)
			return false;
		if (!take(c, bounded(*length * 4 - 2, 0x3ff)))
			return false;
		last = take(c, 1);
		if (!last)
			return false;
		next = *last;
	}
	return !next;
}

/* parse_g_pdu leaves the cursor at the inner packet and returns how many octets of it there are; -1: malformed.
 * gtpu is where the cursor just was. The length must lie within the UDP datagram. */
static __always_inline __s32 parse_g_pdu(struct cursor *c, const struct udphdr *udp, const struct gtpu_header *gtpu)
{
	__u32 length = length_of(gtpu->length);
	void *payload = c->pos;
	__s32 left;

	if (sizeof(*udp) + sizeof(*gtpu) + length > length_of(udp->len))
		return -1;
	if (gtpu->flags & GTPU_FLAGS_OPTIONAL) {
		struct gtpu_optional *optional = take(c, sizeof(*optional));

		if (!optional)
			return -1;
		if (gtpu->flags & GTPU_FLAG_EXTENSION && !skip_extensions(c, optional->next_extension))
			return -1;
	}
	left = (__s32)length - (__s32)distance(payload, c->pos);
	return left < 0 ? -1 : left;
}

/* What stands before an inner packet that we send. */
struct outer_header {
	struct iphdr ip;
	struct udphdr udp;
	struct gtpu_header gtpu;
} __attribute__((packed));

/* write_outer fills all of h for an inner packet of that many octets. identification: see encapsulate().
 *
 * DF is clear: a transport network that carries less than the route to the peer promises may fragment, and the SGW
 * reassembles (TS 29.281 4.4.2.4 leaves it to us); with DF the packets would vanish. The UDP checksum is 0
 * (TS 29.281 4.4.1 permits it over IPv4). The source port is 2152. */
static __always_inline void write_outer(struct outer_header *h, const struct peer *peer, __be32 teid,
					__u32 octets, __u16 identification)
{
	__u32 sum;

	h->ip.version = 4;
	h->ip.ihl = 5;
	h->ip.tos = peer->tos;
	h->ip.tot_len = bpf_htons(sizeof(*h) + octets);
	h->ip.id = bpf_htons(identification);
	h->ip.frag_off = 0;
	h->ip.ttl = IPDEFTTL;
	h->ip.protocol = IPPROTO_UDP;
	h->ip.saddr = peer->local;
	h->ip.daddr = peer->remote;
	sum = peer->checksum + h->ip.tot_len + h->ip.id;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	h->ip.check = ~sum;

	h->udp.source = bpf_htons(GTPU_PORT);
	h->udp.dest = bpf_htons(GTPU_PORT);
	h->udp.len = bpf_htons(sizeof(h->udp) + sizeof(h->gtpu) + octets);
	h->udp.check = 0;

	h->gtpu.flags = GTPU_VERSION_1;
	h->gtpu.type = GTPU_G_PDU;
	h->gtpu.length = bpf_htons(octets);
	h->gtpu.teid = teid;
}

#endif
