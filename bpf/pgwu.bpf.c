// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The data path of the PGW-U: one program for all ports. Packets leave by pgwu() only, which counts why.
 *
 * Life of an uplink packet: access port -> G-PDU to a slice -> entry by TEID -> what its rules say -> outer header
 * off -> next hop of its network instance. Of a downlink packet: core port -> entry by the port's network instance
 * and the destination -> what its rules say -> outer header on -> next hop of the peer. */
#include "entries.h"
#include "event.h"
#include "gtpu.h"
#include "icmp.h"
#include "kernel.h"
#include "maps.h"
#include "nexthop.h"
#include "parse.h"
#include "policing.h"
#include "reason.h"
#include "usage.h"

/* Tests set it: the octets that adjust_head brings are then 0xff, as a driver may well leave them, so that an octet
 * that nobody writes shows. The test runner of the kernel would clear them. */
volatile const bool poison_headroom;

/* Types that user space shares and no map mentions: a variable keeps them in BTF. */
volatile const struct types {
	enum entry_flag entry_flag;
	enum side side;
	struct event event;
} types;

/* decrement_ttl with the header checksum, RFC 1624 equation 3. */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}

/* trim cuts what follows the IP packet: Ethernet padding would end up inside the tunnel, or behind the packet that
 * was in it. */
static __always_inline bool trim(struct xdp_md *ctx, __u32 excess)
{
	return likely(!excess) || bpf_xdp_adjust_tail(ctx, -(int)excess) == 0;
}

/* decapsulate leaves Ethernet and the inner packet, which begins offset octets into the frame. */
static __always_inline enum reason decapsulate(struct cursor *c, __u32 offset, __u32 excess, const struct hop *hop)
{
	struct ethhdr *eth;

	if (!trim(c->ctx, excess) || bpf_xdp_adjust_head(c->ctx, offset - sizeof(*eth)))
		return REASON_NO_HEADROOM;
	*c = cursor_of(c->ctx);
	eth = parse_ethernet(c);
	if (!eth)
		return REASON_MALFORMED_INNER;
	write_ethernet(eth, hop);
	return leave(c, hop);
}

/* uplink: a G-PDU to one of our slices. */
static __always_inline enum reason uplink_packet(struct cursor *c, const struct iphdr *outer,
						 const struct udphdr *udp, const struct gtpu_header *gtpu,
						 const struct cell *slice)
{
	void *frame = (void *)(long)c->ctx->data;
	union uplink_words w;
	struct uplink_entry *entry;
	struct iphdr *inner;
	struct hop *hop;
	enum reason reason;
	__u32 octets;
	__s32 left = parse_g_pdu(c, udp, gtpu);
	__u8 *version = c->pos;

	if (left < 0)
		return REASON_MALFORMED_GTPU;
	entry = find_uplink(slice, gtpu->teid, &w);
	if (!entry) {
		send_event(REASON_UNKNOWN_TEID, gtpu->teid, outer->saddr, outer->daddr, udp->source);
		return REASON_UNKNOWN_TEID;
	}
	reason = check_flags(w.word.flags);
	if (reason != GO_ON)
		return reason;

	if (left == 0 || (void *)(version + 1) > c->end)
		return REASON_MALFORMED_INNER;
	if (*version >> 4 != 4)
		return REASON_INNER_NOT_IPV4;
	inner = parse_ipv4(c);
	if (!inner)
		return REASON_MALFORMED_INNER;
	octets = length_of(inner->tot_len);
	if (octets > left)
		return REASON_MALFORMED_INNER;
	if (w.word.flags & ENTRY_CHECK_SOURCE && inner->saddr != w.word.source)
		return REASON_SOURCE_MISMATCH;
	if (inner->ttl <= 1)
		return REASON_TTL_EXPIRED;

	hop = find_hop(w.word.next_hop);
	if (!hop)
		return REASON_NEXT_HOP_UNRESOLVED;
	if (octets > hop->mtu)
		return REASON_TOO_BIG;
	if (!police(&entry->meter, octets))
		return REASON_MBR_EXCEEDED;

	decrement_ttl(inner);
	reason = decapsulate(c, distance(frame, inner), distance(inner, c->end) - octets, hop);
	if (reason != GO_ON)
		return reason;
	count_usage(&entry->usage, octets);
	return REASON_UPLINK_FORWARDED;
}

/* encapsulate puts the outer header before a packet of that many octets. The identification rises by one with each
 * packet of a session and begins elsewhere for each, so that fragments of two packets are seldom taken for one. */
static __always_inline enum reason encapsulate(struct cursor *c, const struct peer *peer, __be32 teid,
					       __u32 octets, __u16 identification, __u32 excess,
					       const struct hop *hop)
{
	struct outer_header *outer;
	struct ethhdr *eth;

	if (!trim(c->ctx, excess) || bpf_xdp_adjust_head(c->ctx, -(int)sizeof(*outer)))
		return REASON_NO_HEADROOM;
	*c = cursor_of(c->ctx);
	eth = take(c, sizeof(*eth) + sizeof(*outer));
	if (!eth)
		return REASON_NO_HEADROOM;
	outer = (void *)(eth + 1);
	if (poison_headroom)
		__builtin_memset(eth, 0xff, sizeof(*eth) + sizeof(*outer));
	write_ethernet(eth, hop);
	write_outer(outer, peer, teid, octets, identification);
	return leave(c, hop);
}

/* too_big: a downlink packet of more than mtu octets. */
static __always_inline enum reason too_big(struct cursor *c, const struct iphdr *ip, __u32 number, __u32 mtu)
{
	struct instance *instance = bpf_map_lookup_elem(&instances, &number);

	if (!instance || !instance->local || !wants_too_big(c, ip) ||
	    !answer_too_big(c->ctx, instance->local, mtu, poison_headroom))
		return REASON_TOO_BIG;
	c->verdict = XDP_TX;
	return REASON_TOO_BIG_ANSWERED;
}

/* downlink: a packet to a UE's /24, in that network instance. */
static __always_inline enum reason downlink_packet(struct cursor *c, struct iphdr *ip, const struct cell *block,
						   __u32 instance)
{
	__u32 octets = length_of(ip->tot_len);
	__u32 excess = distance(ip, c->end) - octets;
	union downlink_words w;
	struct downlink_entry *entry = find_downlink(block, ip->daddr, &w);
	struct peer *peer;
	struct hop *hop;
	enum reason reason;
	__u32 index;

	if (!entry)
		return REASON_NO_SESSION;
	reason = check_flags(w.word.flags);
	if (reason != GO_ON)
		return reason;
	if (ip->ttl <= 1)
		return REASON_TTL_EXPIRED;

	index = w.word.peer;
	peer = bpf_map_lookup_elem(&peers, &index);
	if (!peer)
		return REASON_NEXT_HOP_UNRESOLVED;
	hop = find_hop(peer->next_hop);
	if (!hop)
		return REASON_NEXT_HOP_UNRESOLVED;
	if (octets + sizeof(struct outer_header) > hop->mtu)
		return too_big(c, ip, instance, hop->mtu - sizeof(struct outer_header));
	if (!police(&entry->meter, octets))
		return REASON_MBR_EXCEEDED;

	decrement_ttl(ip);
	reason = encapsulate(c, peer, w.word.remote_teid, octets,
			     entry->usage.packets + bpf_ntohl(w.word.remote_teid) * 40503, excess, hop);
	if (reason != GO_ON)
		return reason;
	count_usage(&entry->usage, octets);
	return REASON_DOWNLINK_FORWARDED;
}

/* gtpu_packet: UDP to one of our slices, or to GTP-U's port anywhere. */
static __always_inline enum reason gtpu_packet(struct cursor *c, const struct iphdr *ip, const struct cell *slice,
					       __u32 side)
{
	struct gtpu_header *gtpu;
	struct udphdr *udp;

	if (slice && is_fragment(ip))
		return side & SIDE_ACCESS ? REASON_OUTER_FRAGMENT : REASON_WRONG_SIDE;
	udp = parse_udp(c, ip);
	if (!udp)
		return slice ? REASON_MALFORMED_OUTER : REASON_NOT_OURS;
	if (udp->dest != bpf_htons(GTPU_PORT))
		return REASON_NOT_OURS;
	if (slice && !(side & SIDE_ACCESS))
		return REASON_WRONG_SIDE;
	gtpu = take(c, sizeof(*gtpu));
	if (!slice)
		return gtpu && is_g_pdu(gtpu) ? REASON_NOT_A_SLICE : REASON_NOT_OURS;
	if (!gtpu)
		return REASON_MALFORMED_GTPU;
	if (!is_g_pdu(gtpu))
		return REASON_GTPU_SIGNALLING;
	return uplink_packet(c, ip, udp, gtpu, slice);
}

static __always_inline enum reason pipeline(struct cursor *c)
{
	struct ethhdr *eth = parse_ethernet(c);
	struct cell *port, *found;
	struct iphdr *ip;

	if (!eth)
		return REASON_MALFORMED_OUTER;
	if (is_vlan(eth->h_proto))
		return REASON_UNEXPECTED_VLAN;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return REASON_NOT_IPV4;
	port = find_port(c->ctx->ingress_ifindex);
	if (!port)
		return REASON_UNKNOWN_PORT;
	ip = parse_ipv4(c);
	if (!ip)
		return REASON_MALFORMED_OUTER;
	if (port->aux & SIDE_CORE) {
		found = find_block(port->value, ip->daddr);
		if (found)
			return downlink_packet(c, ip, found, port->value);
	}
	if (ip->protocol != IPPROTO_UDP)
		return REASON_NOT_OURS;
	found = find_slice(ip->daddr);
	if (!found && is_fragment(ip))
		return REASON_NOT_OURS;
	return gtpu_packet(c, ip, found, port->aux);
}

SEC("xdp")
int pgwu(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	enum reason reason = pipeline(&c);

	count_reason(reason);
	return is_sent(reason) ? c.verdict : verdict_of(reason);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
