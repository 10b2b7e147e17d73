/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* This file contains the cursor over a frame and the parsers of Ethernet, IPv4 and UDP. */
#ifndef XEPC_PARSE_H
#define XEPC_PARSE_H

#include "kernel.h"

/* cursor walks the frame; every step checks bounds. */
struct cursor {
	struct xdp_md *ctx;
	void *pos;
	void *end;
};

/* Not struct ethhdr, which is packed: the compiler would read and write it octet by octet. */
struct ethernet {
	__u8 dest[ETH_ALEN];
	__u8 source[ETH_ALEN];
	__be16 proto;
};

#define MAX_OFFSET 0x3fff /* of an IP packet in the frame */

/* The end is not to be put aside as the 32 bits that the context has: the verifier refuses that for pointers. */
static __always_inline struct cursor cursor_of(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;

	asm volatile("" : "+r"(end));
	return (struct cursor){
		.ctx = ctx,
		.pos = (void *)(long)ctx->data,
		.end = end,
	};
}

/* take returns the next octets and steps over them; NULL when there are not as many. */
static __always_inline void *take(struct cursor *c, __u32 octets)
{
	void *at = c->pos;

	if (unlikely(at + octets > c->end))
		return NULL;
	c->pos = at + octets;
	__builtin_assume(at != NULL);
	return at;
}

/* distance is how many octets lie between two pointers into the frame. The compiler must not see that few bits of it
 * are wanted: it would subtract in 32 bits, which the verifier refuses for pointers. */
static __always_inline __u32 distance(const void *from, const void *to)
{
	__u64 octets = to - from;

	asm volatile("" : "+r"(octets));
	return octets;
}

static __always_inline struct ethernet *parse_ethernet(struct cursor *c)
{
	return take(c, sizeof(struct ethernet));
}

static __always_inline bool is_vlan(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD);
}

/* parse_ipv4 leaves the cursor after the header and its options. NULL unless the header is whole and its total
 * length lies between itself and the frame's end (RFC 791 3.1). Its checksum is not verified: whoever forwards it
 * updates it incrementally, so that a wrong one stays wrong. */
static __always_inline struct iphdr *parse_ipv4(struct cursor *c)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 header, total;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return NULL;
	header = ip->ihl * 4;
	total = length_of(ip->tot_len);
	if (total < header || (void *)ip + total > c->end)
		return NULL;
	if (header > sizeof(*ip) && !take(c, header - sizeof(*ip)))
		return NULL;
	return ip;
}

#define IP_MORE_FRAGMENTS 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff

/* payload_of is how many octets follow the header and its options. */
static __always_inline __u32 payload_of(const struct iphdr *ip)
{
	return length_of(ip->tot_len) - ip->ihl * 4;
}

static __always_inline bool is_fragment(const struct iphdr *ip)
{
	return ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET);
}

/* parse_ipv6 leaves the cursor after the fixed header. NULL unless it is whole and its payload lies within the frame
 * (RFC 8200 3). */
static __always_inline struct ipv6hdr *parse_ipv6(struct cursor *c)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));

	if (!ip || ip->version != 6 || (void *)(ip + 1) + length_of(ip->payload_len) > c->end)
		return NULL;
	return ip;
}

#define IPV6_EXTENSIONS 4 /* that are looked behind */

/* skip_to_upper leaves the cursor, which is behind the IPv6 header, at the header of what protocol is then: behind
 * hop-by-hop, routing and destination options and the first fragment's header. False: there is none here. */
static __always_inline bool skip_to_upper(struct cursor *c, __u8 *protocol)
{
	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		bool fragment = *protocol == IPPROTO_FRAGMENT;
		__u8 *header;

		if (*protocol != IPPROTO_HOPOPTS && *protocol != IPPROTO_ROUTING && *protocol != IPPROTO_DSTOPTS && !fragment)
			break;
		header = take(c, 8);
		if (!header)
			return false;
		*protocol = header[0];
		if (fragment ? (header[2] << 8 | header[3]) & 0xfff8 : !take(c, bounded(header[1] * 8, 0x7ff)))
			return false;
	}
	return true;
}

/* traffic_class of an IPv6 header, whose first 32 bits are version, class and flow label. */
static __always_inline __u8 traffic_class(const struct ipv6hdr *ip)
{
	return bpf_ntohl(*(const __be32 *)ip) >> 20;
}

/* is_extension: of an IPv6 header that is followed by an extension header (RFC 8200 4), IPsec's aside. */
static __always_inline bool is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT || next == IPPROTO_DSTOPTS;
}

/* parse_udp is NULL unless header and length (RFC 768) lie within the IP packet's payload of that many octets, at whose
 * beginning the cursor is. The checksum is not verified, be it 0 or not: what is inside has its own, and of what is
 * outside the address and the TEID must match (RFC 6936 5). */
static __always_inline struct udphdr *parse_udp(struct cursor *c, __u32 payload)
{
	struct udphdr *udp = take(c, sizeof(*udp));
	__u32 length;

	if (!udp)
		return NULL;
	length = length_of(udp->len);
	if (length < sizeof(*udp) || length > payload)
		return NULL;
	return udp;
}

#endif
