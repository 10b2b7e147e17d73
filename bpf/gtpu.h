/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains GTP-U, TS 29.281: the parser of a G-PDU and the outer header of one that we send. */
#ifndef XEPC_GTPU_H
#define XEPC_GTPU_H

#include "checksum.h"
#include "layout.h"
#include "parse.h"

#define GTPU_PORT 2152 /* TS 29.281 4.4.2.3 */
#define GTPU_G_PDU 255 /* TS 29.281 6.1 */

#define GTPU_VERSION_1 0x30      /* version 1, protocol type GTP */
#define GTPU_VERSION_MASK 0xf0   /* version and protocol type */
#define GTPU_FLAG_EXTENSION 0x04 /* E */
#define GTPU_FLAGS_OPTIONAL 0x07 /* E, S, PN: any of them brings all four optional octets */

#define GTPU_PDU_SESSION_CONTAINER 0x85 /* TS 29.281 5.2.1; its content is TS 38.415 5.5.2 */

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
 * octets, itself included, and ends with the type of the next. qfi is that of a PDU Session Container. */
static __always_inline bool skip_extensions(struct cursor *c, __u8 next, __u8 *qfi)
{
	for (int i = 0; i < GTPU_MAX_EXTENSIONS && next; i++) {
		__u8 *length = take(c, 1);
		__u8 *content, *last;

		if (!length || !*length)
			return false;
		content = take(c, bounded(*length * 4 - 2, 0x3ff));
		if (!content)
			return false;
		if (next == GTPU_PDU_SESSION_CONTAINER && (void *)(content + 2) <= c->end)
			*qfi = content[1] & 0x3f;
		last = take(c, 1);
		if (!last)
			return false;
		next = *last;
	}
	return !next;
}

/* parse_g_pdu leaves the cursor at the inner packet and returns how many octets of it there are; -1: malformed.
 * gtpu is where the cursor just was. The length must lie within the UDP datagram. qfi changes when the packet has one. */
static __always_inline __s32 parse_g_pdu(struct cursor *c, const struct udphdr *udp, const struct gtpu_header *gtpu,
					__u8 *qfi)
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
		if (gtpu->flags & GTPU_FLAG_EXTENSION && !skip_extensions(c, optional->next_extension, qfi))
			return -1;
	}
	left = (__s32)length - (__s32)distance(payload, c->pos);
	return left < 0 ? -1 : left;
}

/* The PDU Session Container of a downlink packet with the optional octets that announce it. */
struct gtpu_container {
	struct gtpu_optional optional;
	__u8 length; /* 1: 4 octets */
	__u8 type;   /* 0 in the high half: DL PDU SESSION INFORMATION */
	__u8 qfi;
	__u8 next;
};

/* What stands before an inner packet that we send; a container may follow. */
struct outer_header {
	struct iphdr ip;
	struct udphdr udp;
	struct gtpu_header gtpu;
};

struct outer_header6 {
	struct ipv6hdr ip;
	struct udphdr udp;
	struct gtpu_header gtpu;
};

/* Over IPv6: the UDP checksum is 0, as RFC 6935 permits tunnels between ends that are both set so. Otherwise it is
 * computed: a receiver that is not set so must drop such a datagram (RFC 8200 8.1). */
volatile const bool zero_checksum_ipv6;

/* write_gtpu fills what both families share, in words as the standards draw them; length: of the UDP datagram. Its checksum
 * is 0, which over IPv4 says that there is none (RFC 768); over IPv6 finish_udp6() follows. The source port is 2152. */
static __always_inline void write_gtpu(__be32 *word, const struct peer *peer, __be32 teid, __u32 length)
{
	__u32 flags = peer->qfi == NO_QFI ? GTPU_VERSION_1 : GTPU_VERSION_1 | GTPU_FLAG_EXTENSION;

	word[0] = bpf_htonl(GTPU_PORT << 16 | GTPU_PORT);
	word[1] = bpf_htonl(length << 16);
	word[2] = bpf_htonl(flags << 24 | GTPU_G_PDU << 16 |
			    (length - sizeof(struct udphdr) - sizeof(struct gtpu_header)));
	word[3] = teid;
}

static __always_inline void write_container(struct gtpu_container *c, __u8 qfi)
{
	*c = (struct gtpu_container){
		.optional.next_extension = GTPU_PDU_SESSION_CONTAINER,
		.length = 1,
		.qfi = qfi,
	};
}

/* write_outer fills all of h for a payload of that many octets after UDP's and GTP-U's headers. identification: see
 * forward().
 *
 * DF is clear: a transport network that carries less than the route to the peer promises may fragment, and the SGW
 * reassembles (TS 29.281 4.4.2.4 leaves it to us); with DF the packets would vanish. */
static __always_inline void write_outer(struct outer_header *h, const struct peer *peer, __be32 teid,
					__u32 octets, __u16 identification)
{
	__u32 length = peer->outer + octets;
	__u32 sum = bpf_ntohs(peer->checksum) + length + identification;
	__be32 *word = (void *)&h->ip;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	word[0] = bpf_htonl(0x45U << 24 | peer->tos << 16 | length);
	word[1] = bpf_htonl((__u32)identification << 16);
	word[2] = bpf_htonl(IPDEFTTL << 24 | IPPROTO_UDP << 16 | (~sum & 0xffff));
	word[3] = peer->local;
	word[4] = peer->remote;
	write_gtpu((void *)&h->udp, peer, teid, length - sizeof(h->ip));
}

/* flow_label of a tunnel's packets: one flow in order, and tunnels spread over what a transport network chooses by it
 * (RFC 6437 3, RFC 6438 3). Not 0, which would mean that there is none. */
static __always_inline __u32 flow_label(__be32 teid)
{
	__u32 label = bpf_ntohl(teid) * 0x9E3779B1U >> 12;

	return label ? label : 1;
}

static __always_inline void write_outer6(struct outer_header6 *h, const struct peer *peer, __be32 teid, __u32 octets)
{
	__u32 length = peer->outer - sizeof(h->ip) + octets;
	__be32 *word = (void *)&h->ip;

	word[0] = bpf_htonl(6U << 28 | (__u32)peer->tos << 20 | flow_label(teid));
	word[1] = bpf_htonl(length << 16 | IPPROTO_UDP << 8 | IPDEFTTL);
	__builtin_memcpy(&h->ip.saddr, peer->local6, 16);
	__builtin_memcpy(&h->ip.daddr, peer->remote6, 16);
	write_gtpu((void *)&h->udp, peer, teid, length);
}

/* finish_udp6 writes the checksum of the UDP datagram that begins offset octets into the frame and ends with it, RFC 8200
 * 8.1. sum: of the pseudo-header without length. */
__noinline int finish_udp6(struct xdp_md *ctx, __u32 offset, __u32 sum)
{
	struct cursor c = cursor_of(ctx);
	struct udphdr *udp;
	__u16 check;

	offset &= 0xff;
	c.pos += offset;
	udp = take(&c, sizeof(*udp));
	if (!udp)
		return 0;
	check = checksum_of(ctx, offset, distance(udp, c.end), sum + udp->len);
	c = cursor_of(ctx);
	c.pos += offset;
	udp = take(&c, sizeof(*udp));
	if (udp)
		udp->check = check ? check : 0xffff;
	return 0;
}

#endif
