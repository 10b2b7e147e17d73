// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The data path of the PGW-U: one program for all ports. Packets leave by pgwu() only, which counts why.
 *
 * Life of an uplink packet: access port -> G-PDU to a slice -> entry by TEID -> its rule -> outer header off -> next
 * hop of its network instance. Of a downlink packet: core port -> entry by the port's network instance and the
 * destination -> its rule -> outer header on -> next hop of the peer. What both find is a job; forward() does it. */
#include "choose.h"
#include "entries.h"
#include "event.h"
#include "gtpu.h"
#include "job.h"
#include "kernel.h"
#include "maps.h"
#include "nexthop.h"
#include "parse.h"
#include "policing.h"
#include "reason.h"
#include "redirect.h"
#include "route.h"
#include "rules.h"
#include "send.h"
#include "slowpath.h"
#include "tell.h"
#include "usage.h"

/* Types that user space shares and no map mentions: a variable keeps them in BTF. */
volatile const struct types {
	enum entry_flag entry_flag;
	enum ue_key ue_key;
	enum watch watch;
	enum filter_family filter_family;
	enum trait trait;
	enum direction direction;
	enum limited limited;
	enum cell_drops cell_drops;
	enum side side;
	enum event_kind event_kind;
	struct event event;
	struct parked parked;
	struct copy copy;
	enum copy_outcome copy_outcome;
} types;

static __always_inline struct account *account_of(const struct rule *rule)
{
	__u32 index = rule->account;

	return bpf_map_lookup_elem(&accounts, &index);
}

/* Both of these look at what a rule of a set shares with others. */
__noinline int admits_shared(const struct rule *rule, __u32 direction, __u32 octets)
{
	if (!rule)
		return REASON_NO_RESOURCES;
	for (int i = 0; i < RULE_METERS && rule->meters[i]; i++) {
		__u32 index = rule->meters[i]; /* Linux 6.1 looks up by keys on the stack */
		struct shared_meter *m = bpf_map_lookup_elem(&meters, &index);

		if (m && !allows(&m->meter, octets))
			return REASON_MBR_EXCEEDED;
	}
	for (int i = 0; i < RULE_CELLS && rule->cells[i]; i++)
		if (!has_quota_left(rule->cells[i], direction))
			return REASON_QUOTA_EXHAUSTED;
	return GO_ON;
}

__noinline int charge_shared(const struct rule *rule, __u32 direction, __u32 octets)
{
	if (!rule)
		return 0;
	for (int i = 0; i < RULE_METERS && rule->meters[i]; i++) {
		__u32 index = rule->meters[i]; /* Linux 6.1 looks up by keys on the stack */
		struct shared_meter *m = bpf_map_lookup_elem(&meters, &index);

		if (m)
			debit(&m->meter, octets);
	}
	for (int i = 0; i < RULE_CELLS && rule->cells[i]; i++)
		count_in_cell(rule->cells[i], direction, octets);
	return 0;
}

static __always_inline bool shares(const struct rule *rule)
{
	return rule->meters[0] | rule->cells[0];
}

/* admits says whether no limit is against the packet. Nothing is charged yet. rule: NULL without set. */
static __always_inline enum reason admits(const struct job *job, struct entry *entry, const struct rule *rule)
{
	if (unlikely(rule)) {
		struct account *account = account_of(rule);

		if (account && !allows(&account->meter, job->octets))
			return because(REASON_MBR_EXCEEDED);
		return shares(rule) ? admits_shared(rule, job->direction, job->octets) : GO_ON;
	}
	if (!allows(&entry->meter, job->octets))
		return because(REASON_MBR_EXCEEDED);
	if (entry->cell && !has_quota_left(entry->cell, job->direction))
		return because(REASON_QUOTA_EXHAUSTED);
	return GO_ON;
}

/* Rounds that a packet is held up between look-up and count, as a stall of the machine would do it; for tests. */
volatile const __u32 stall_rounds;

static long pass_time(__u32 round, void *context)
{
	return 0;
}

static __noinline void stall(void)
{
	bpf_loop(stall_rounds, pass_time, NULL, 0);
}

/* charge takes the packet into account, once it is known to leave. */
static __always_inline void charge(const struct job *job, struct entry *entry, const struct rule *rule)
{
	if (unlikely(stall_rounds))
		stall();
	if (likely(!(job->at.word.flags & ENTRY_CELLED)))
		count_in_entry(entry, job->octets, job->at.slot, job->by_teid);
	if (unlikely(rule)) {
		struct account *account = account_of(rule);

		if (account) {
			count_usage(&account->usage, job->octets);
			debit(&account->meter, job->octets);
		}
		if (shares(rule))
			charge_shared(rule, job->direction, job->octets);
		return;
	}
	debit(&entry->meter, job->octets);
	if (entry->cell)
		count_in_cell(entry->cell, job->direction, job->octets);
}

static __always_inline void count_dropped_in(__u32 cell, const struct job *job, __u32 by)
{
	struct cell_origin *origin = bpf_map_lookup_elem(&cell_origins, &cell);

	if (origin && READ_ONCE(origin->drops) & by)
		count_in_cell(cell, job->direction, job->octets);
}

/* count_dropped counts a packet that its rule, or a limit of it, dropped for that reason: in those cells of the rule that
 * count such. */
__noinline int count_dropped(const struct job *job, __u32 reason)
{
	__u32 by = reason == REASON_FAR_DROP ? CELL_FAR_DROPS : CELL_QOS_DROPS;
	struct entry *entry = job ? entry_of(job) : NULL;
	struct rule *rule;

	if (!entry)
		return 0;
	rule = rule_of(job);
	if (!rule) {
		if (entry->cell)
			count_dropped_in(entry->cell, job, by);
		return 0;
	}
	for (int i = 0; i < RULE_CELLS && rule->cells[i]; i++)
		count_dropped_in(rule->cells[i], job, by);
	return 0;
}

/* refuse is the end of a packet that a limit is against. */
static __always_inline enum reason refuse(const struct job *job, enum reason reason)
{
	if (reason == REASON_MBR_EXCEEDED)
		count_dropped(job, reason);
	return reason;
}

/* These two are admits and charge for the sender of a packet that goes from one UE of this node to another. */
__noinline int admits_sender(const struct job *before)
{
	struct entry *entry = before ? entry_of(before) : NULL;
	enum reason reason;

	if (!entry)
		return REASON_NO_RESOURCES;
	reason = admits(before, entry, rule_of(before));
	return reason == GO_ON ? GO_ON : refuse(before, reason);
}

__noinline int charge_sender(const struct job *before)
{
	struct entry *entry = before ? entry_of(before) : NULL;

	if (entry)
		charge(before, entry, rule_of(before));
	return 0;
}

/* number_of is one for the packet that the entry's other packets of the time do not have. */
static __always_inline __u32 number_of(const struct job *job, const struct entry *entry)
{
	return unlikely(job->at.word.flags & ENTRY_CELLED) ? bpf_get_prandom_u32() : entry->usage.packets;
}

/* buffer hands the packet of a rule that buffers to the slow path. GO_ON: it is to be forwarded all the same, since the
 * buffered ones are being given back, and this is one of them (returned), or none of them is before it any more. */
__noinline int buffer(struct xdp_md *ctx, const struct job *job, __u32 returned)
{
	struct gate *gate;
	bool draining;

	if (!job)
		return REASON_NO_RESOURCES;
	draining = job->at.word.flags & ENTRY_DRAINING;
	if (draining) {
		gate = gate_of(job->at.slot);
		if (!gate)
			return REASON_NO_RESOURCES;
		if (returned) {
			__sync_fetch_and_add(&gate->passed, 1);
			return GO_ON;
		}
		if (is_open(gate))
			return GO_ON;
	}
	return park(ctx, job, draining) ? REASON_BUFFERED : REASON_BUFFER_FULL;
}

/* buffer_turned is the same for a packet from another UE of this node, whose rules have it first. */
__noinline int buffer_turned(struct xdp_md *ctx, const struct job *before, const struct job *job)
{
	int reason = admits_sender(before);

	if (reason != GO_ON)
		return reason;
	reason = buffer(ctx, job, false);
	if (reason == REASON_BUFFERED)
		charge_sender(before);
	return reason;
}

/* may_fragment says whether a packet that does not fit may leave in fragments, of its outer header if it has one: an IPv4
 * packet whose sender does not look for the path's MTU, and that the slow path can take. */
static __always_inline bool may_fragment(struct cursor *c, const struct job *job)
{
	struct iphdr *ip = (void *)(long)c->ctx->data + (job->offset & MAX_OFFSET);

	return job->family == FILTER_IPV4 && !(job->at.word.flags & ENTRY_WHOLE) && job->octets <= PARKED_OCTETS &&
	       (void *)(ip + 1) <= c->end && !(ip->frag_off & bpf_htons(IP_DONT_FRAGMENT));
}

/* execute_special does what a rule wants beside sending the packet. GO_ON: send it. */
__noinline int execute_special(struct xdp_md *ctx, const struct job *job)
{
	struct rule *rule = job ? rule_of(job) : NULL;

	if (!rule)
		return REASON_NO_RESOURCES;
	make_copies(ctx, rule->special, job->offset, job->octets);
	return job->at.word.flags & ENTRY_REDIRECT ? redirect(ctx, job->offset, rule->special) : GO_ON;
}

/* is_dropped: a rule took the packet, and lets none through. */
static __always_inline bool is_dropped(enum reason reason)
{
	return reason == REASON_FAR_DROP || reason == REASON_GATE_CLOSED;
}

/* end_dropped does what there is to do for a packet that is_dropped: who counts it does, and of one that a FAR drops the
 * copies are made, unless a gate would have stopped it, too. */
__noinline int end_dropped(struct xdp_md *ctx, const struct job *job, __u32 reason)
{
	struct rule *rule = job ? rule_of(job) : NULL;

	if (!job)
		return 0;
	count_dropped(job, reason);
	if (reason == REASON_FAR_DROP && rule && rule->special && !(job->at.word.flags & ENTRY_GATE_CLOSED))
		make_copies(ctx, rule->special, job->offset, job->octets);
	return 0;
}

static __always_inline enum reason specials_of(struct cursor *c, const struct job *job, const struct rule *rule)
{
	enum reason reason;

	if (likely(!rule || !rule->special))
		return GO_ON;
	reason = execute_special(c->ctx, job);
	*c = cursor_of(c->ctx);
	return reason;
}

/* forward sends the packet as job says, and charges inner for it, whose entry that is: mostly the same job, another where a
 * packet leaves whole. It charges before, too: that of the sender when a packet goes from one UE of this node to another,
 * else NULL. */
static __always_inline enum reason forward(struct cursor *c, struct job *before, struct job *job,
					   const struct job *inner, struct entry *entry)
{
	bool tunnel = job->at.word.flags & ENTRY_TUNNEL;
	struct rule *rule = rule_of(job);
	struct peer *peer = NULL;
	__u32 index = job->at.word.to, outer = 0;
	enum reason reason;
	struct hop *hop;

	if (tunnel) {
		peer = bpf_map_lookup_elem(&peers, &index);
		if (!peer)
			return because(REASON_NO_RESOURCES);
		index += peers_hops;
		outer = peer->outer;
	} else if (job->family != FILTER_IPV4) {
		index += hops_of_ipv6;
	}
	hop = find_hop(index);
	if (!hop)
		return because(REASON_NEXT_HOP_UNRESOLVED);
	job->mtu = 0;
	if (job->octets + outer > hop->mtu) {
		job->mtu = hop->mtu - outer;
		if (!may_fragment(c, job)) {
			if (before)
				before->mtu = job->mtu;
			return because(REASON_TOO_BIG);
		}
	}
	if (unlikely(before)) {
		reason = admits_sender(before);
		if (reason != GO_ON)
			return reason;
	}
	if (!entry)
		return because(REASON_NO_RESOURCES);
	reason = admits(inner, entry, rule);
	if (reason != GO_ON)
		return refuse(inner, reason);
	if (unlikely(before)) {
		reason = specials_of(c, before, rule_of(before));
		if (reason != GO_ON)
			return reason;
	}
	reason = specials_of(c, inner, rule);
	if (reason != GO_ON)
		return reason;

	if (is_routed(job) && !route_packet(c, job, rule))
		return because(REASON_MALFORMED_INNER);
	if (!trim(c->ctx, distance((void *)(long)c->ctx->data, c->end) - job->offset - job->octets))
		return because(REASON_NO_HEADROOM);
	if (unlikely(job->mtu)) {
		if (!leave_in_fragments(c->ctx, job))
			return because(REASON_BUFFER_FULL);
	} else if (peer) { /* not tunnel: Linux 6.1 does not know that they go together */
		reason = send_tunnelled(c, job, peer, hop, number_of(job, entry));
	} else {
		reason = send_plain(c, job, hop);
	}
	if (reason != GO_ON)
		return reason;
	if (unlikely(before))
		charge_sender(before);
	charge(inner, entry, rule);
	if (unlikely(job->mtu))
		return because(REASON_FRAGMENTED);
	return job->direction == UPLINK ? REASON_UPLINK_FORWARDED : REASON_DOWNLINK_FORWARDED;
}

/* turn makes the job of a packet whose destination is another UE of this node: REASON_DOWNLINK_FORWARDED. GO_ON: it is
 * none. */
__noinline int turn(struct xdp_md *ctx, const struct job *up, struct job *down)
{
	struct cursor at = cursor_of(ctx);
	struct ipv6hdr *ip6;
	struct entry *entry;
	struct iphdr *ip;
	enum reason reason;
	bool around;

	if (!up || !down)
		return REASON_NO_RESOURCES;
	*down = *up;
	down->rule = 0;
	down->by_teid = false;
	down->direction = DOWNLINK;
	down->instance = up->at.word.to;
	at.pos += up->offset & MAX_OFFSET;
	if (up->family == FILTER_IPV4) {
		ip = parse_ipv4(&at);
		if (!ip)
			return REASON_MALFORMED_INNER;
		entry = find_ue4(down->instance, ip->daddr, &down->at, &around);
		if (!entry)
			return around ? REASON_NO_SESSION : GO_ON;
		reason = choose_ipv4(ctx, down, ip);
		return reason == GO_ON ? REASON_DOWNLINK_FORWARDED : reason;
	}
	ip6 = parse_ipv6(&at);
	if (!ip6)
		return REASON_MALFORMED_INNER;
	entry = find_ue6(down->instance, &ip6->daddr, &down->at);
	if (!entry)
		return GO_ON;
	reason = choose_ipv6(ctx, down, entry, ip6);
	return reason == GO_ON ? REASON_DOWNLINK_FORWARDED : reason;
}

/* Some network instance has packets turn: where none has, the verifier leaves out all that is about it. */
volatile const bool ue_to_ue;

/* turns says whether the packet may go to another UE of this node: its network instance allows it. */
static __always_inline bool turns(const struct job *job)
{
	__u32 index = job->at.word.to;
	struct next_hop *next;

	if (!ue_to_ue || job->at.word.flags & (ENTRY_TUNNEL | ENTRY_BUFFER | ENTRY_REDIRECT))
		return false;
	next = bpf_map_lookup_elem(&next_hops, &index);
	return next && next->ue_to_ue;
}

/* forward_turned sends the packet of job to another UE of this node, as second says. It stands by itself, so that its stack
 * and turn()'s are not needed at the same time. */
__noinline int forward_turned(struct xdp_md *ctx, struct job *job, struct job *second)
{
	struct cursor c = cursor_of(ctx);
	enum reason reason;

	if (!job || !second)
		return REASON_NO_RESOURCES;
	reason = forward(&c, job, second, second, entry_of(second));
	job->verdict = second->verdict;
	return reason;
}

/* execute_turn does a job whose packet may go to another UE of this node. GO_ON: it does not. */
__noinline int execute_turn(struct xdp_md *ctx, struct job *job)
{
	struct job second = {};
	enum reason reason;

	if (!job)
		return REASON_NO_RESOURCES;
	reason = turn(ctx, job, &second);
	if (is_dropped(reason))
		end_dropped(ctx, &second, reason);
	if (reason == REASON_DOWNLINK_FORWARDED) {
		reason = GO_ON;
		if (second.at.word.flags & ENTRY_BUFFER)
			reason = buffer_turned(ctx, job, &second);
		if (reason == GO_ON)
			reason = forward_turned(ctx, job, &second);
	}
	return reason;
}

/* find_outer makes job that of the packet with the outer header that it came with. */
static __always_inline bool find_outer(struct cursor *c, struct job *job)
{
	struct ethernet *eth = parse_ethernet(c);
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (!eth || (is_vlan(eth->proto) && !take(c, sizeof(struct vlan_header) - sizeof(*eth))))
		return false;
	job->offset = distance(eth, c->pos);
	ip = c->pos;
	ip6 = c->pos;
	if ((void *)(ip + 1) > c->end)
		return false;
	if (ip->version == 4) {
		job->octets = length_of(ip->tot_len);
		return true;
	}
	if ((void *)(ip6 + 1) > c->end)
		return false;
	job->octets = sizeof(*ip6) + length_of(ip6->payload_len);
	return true;
}

/* execute_whole does a job whose packet leaves with the header that it came with: nobody has routed it. */
__noinline int execute_whole(struct xdp_md *ctx, struct job *job)
{
	struct cursor c = cursor_of(ctx);
	struct job whole;
	enum reason reason;

	if (!job)
		return REASON_NO_RESOURCES;
	whole = *job;
	if (!find_outer(&c, &whole))
		return REASON_MALFORMED_OUTER;
	c = cursor_of(ctx);
	reason = forward(&c, NULL, &whole, job, entry_of(job));
	job->verdict = whole.verdict;
	return reason;
}

static __always_inline enum reason execute(struct cursor *c, struct job *job, struct entry *entry)
{
	enum reason reason;

	if (unlikely(job->at.word.flags & (ENTRY_BUFFER | ENTRY_WHOLE))) {
		if (job->at.word.flags & ENTRY_BUFFER) {
			if (job->at.word.flags & ENTRY_REDIRECT)
				return redirect_to_url(c->ctx, job);
			reason = buffer(c->ctx, job, c->ctx->ingress_ifindex == injector);
			if (reason != GO_ON)
				return reason;
		}
		if (job->at.word.flags & ENTRY_WHOLE)
			return execute_whole(c->ctx, job);
	}
	if (unlikely(turns(job))) {
		reason = execute_turn(c->ctx, job);
		if (reason != GO_ON)
			return reason;
		*c = cursor_of(c->ctx);
	}
	return forward(c, NULL, job, job, entry);
}

/* Where a G-PDU came from and to which address: what an event tells. */
struct outer {
	const struct iphdr *ip; /* NULL: IPv6 */
	const struct ipv6hdr *ip6;
	__be16 port;
};

static __noinline int tell_unknown_teid4(const struct iphdr *ip, __be16 port, __be32 teid)
{
	struct event *event = begin_event(EVENT_UNKNOWN_TEID);

	if (!event)
		return 0;
	event->teid = teid;
	event->remote_port = port;
	event->remote = ip->saddr;
	event->local = ip->daddr;
	submit_event(event);
	return 0;
}

static __noinline int tell_unknown_teid6(const struct ipv6hdr *ip, __be16 port, __be32 teid)
{
	struct event *event = begin_event(EVENT_UNKNOWN_TEID);

	if (!event)
		return 0;
	event->teid = teid;
	event->remote_port = port;
	__builtin_memcpy(event->remote6, &ip->saddr, sizeof(event->remote6) + sizeof(event->local6));
	submit_event(event);
	return 0;
}

/* g_pdu: a G-PDU to one of our slices. */
static __always_inline enum reason g_pdu(struct cursor *c, struct job *job, const struct outer *outer, const struct udphdr *udp,
					 const struct gtpu_header *gtpu, const struct where *slice,
					 struct entry **found)
{
	struct entry *entry;
	enum reason reason;
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__s32 left = parse_g_pdu(c, udp, gtpu, &job->qfi);
	__u8 *version = c->pos;

	if (left < 0)
		return because(REASON_MALFORMED_GTPU);
	entry = find_by_teid(slice, gtpu->teid, &job->at);
	if (!entry) {
		if (outer->ip)
			tell_unknown_teid4(outer->ip, outer->port, gtpu->teid);
		else if (outer->ip6)
			tell_unknown_teid6(outer->ip6, outer->port, gtpu->teid);
		return because(REASON_UNKNOWN_TEID);
	}
	*found = entry;
	job->by_teid = true;
	job->direction = job->at.word.flags & ENTRY_TUNNEL ? DOWNLINK : UPLINK;
	job->offset = distance((void *)(long)c->ctx->data, version);
	if (left == 0 || (void *)(version + 1) > c->end)
		return because(REASON_MALFORMED_INNER);
	switch (*version >> 4) {
	case 4:
		ip = parse_ipv4(c);
		if (!ip)
			return because(REASON_MALFORMED_INNER);
		job->octets = length_of(ip->tot_len);
		if (job->octets > left)
			return because(REASON_MALFORMED_INNER);
		reason = choose_ipv4(c->ctx, job, ip);
		if (reason != GO_ON)
			return reason;
		if (ip->ttl <= 1 && is_routed(job))
			return because(REASON_TTL_EXPIRED);
		break;
	case 6:
		ip6 = parse_ipv6(c);
		if (!ip6)
			return because(REASON_MALFORMED_INNER);
		job->octets = sizeof(*ip6) + length_of(ip6->payload_len);
		if (job->octets > left)
			return because(REASON_MALFORMED_INNER);
		reason = choose_ipv6(c->ctx, job, entry, ip6);
		if (reason != GO_ON)
			return reason;
		if (ip6->hop_limit <= 1 && is_routed(job))
			return because(REASON_TTL_EXPIRED);
		break;
	default:
		return because(REASON_INNER_NOT_IPV4);
	}
	return GO_ON;
}

/* foreign: UDP to an address that is no slice of ours. payload: octets of it, header included. */
static __always_inline enum reason foreign(struct cursor *c, __u32 payload)
{
	struct udphdr *udp = parse_udp(c, payload);
	struct gtpu_header *gtpu;

	if (!udp || udp->dest != bpf_htons(GTPU_PORT))
		return REASON_NOT_OURS;
	gtpu = take(c, sizeof(*gtpu));
	return gtpu && is_g_pdu(gtpu) ? REASON_NOT_A_SLICE : REASON_NOT_OURS;
}

/* gtpu_packet: UDP to one of our slices. payload: octets of it, header included. */
static __always_inline enum reason gtpu_packet(struct cursor *c, struct job *job, struct outer *outer, __u32 payload,
					       const struct where *slice, __u32 side, struct entry **found)
{
	struct gtpu_header *gtpu;
	struct udphdr *udp = parse_udp(c, payload);

	if (!udp)
		return because(REASON_MALFORMED_OUTER);
	if (udp->dest != bpf_htons(GTPU_PORT))
		return because(REASON_NOT_OURS);
	if (!(side & SIDE_ACCESS))
		return because(REASON_WRONG_SIDE);
	outer->port = udp->source;
	gtpu = take(c, sizeof(*gtpu));
	if (!gtpu)
		return because(REASON_MALFORMED_GTPU);
	if (!is_g_pdu(gtpu))
		return because(REASON_GTPU_SIGNALLING);
	return g_pdu(c, job, outer, udp, gtpu, slice, found);
}

static __always_inline enum reason ipv4_packet(struct cursor *c, struct job *job, const struct where *port, struct entry **found)
{
	struct iphdr *ip = parse_ipv4(c);
	struct outer outer = { .ip = ip };
	struct where slice = {};
	struct entry *entry;
	bool around = false;
	enum reason reason;

	if (!ip)
		return because(REASON_MALFORMED_OUTER);
	if (port->aux & SIDE_CORE) {
		job->direction = DOWNLINK;
		job->instance = port->value;
		entry = find_ue4(port->value, ip->daddr, &job->at, &around);
		if (entry) {
			*found = entry;
			job->octets = length_of(ip->tot_len);
			job->offset = distance((void *)(long)c->ctx->data, ip);
			reason = choose_ipv4(c->ctx, job, ip);
			if (reason != GO_ON)
				return reason;
			return ip->ttl <= 1 ? REASON_TTL_EXPIRED : GO_ON;
		}
		if (around)
			return because(REASON_NO_SESSION);
	}
	if (ip->protocol != IPPROTO_UDP)
		return because(REASON_NOT_OURS);
	if (!find_slice(ip->daddr, &slice))
		return is_fragment(ip) ? REASON_NOT_OURS : foreign(c, payload_of(ip));
	if (is_fragment(ip))
		return port->aux & SIDE_ACCESS ? REASON_OUTER_FRAGMENT : REASON_WRONG_SIDE;
	return gtpu_packet(c, job, &outer, payload_of(ip), &slice, port->aux, found);
}

static __always_inline enum reason ipv6_packet(struct cursor *c, struct job *job, const struct where *port, struct entry **found)
{
	struct ipv6hdr *ip = parse_ipv6(c);
	struct outer outer = { .ip6 = ip };
	__be64 destination[2];
	struct entry *entry;
	struct where slice = {};
	enum reason reason;

	if (!ip)
		return because(REASON_MALFORMED_OUTER);
	if (port->aux & SIDE_CORE) {
		job->direction = DOWNLINK;
		job->instance = port->value;
		entry = find_ue6(port->value, &ip->daddr, &job->at);
		if (entry) {
			*found = entry;
			job->octets = sizeof(*ip) + length_of(ip->payload_len);
			job->offset = distance((void *)(long)c->ctx->data, ip);
			reason = choose_ipv6(c->ctx, job, entry, ip);
			if (reason != GO_ON)
				return reason;
			return ip->hop_limit <= 1 ? REASON_TTL_EXPIRED : GO_ON;
		}
	}
	if (ip->nexthdr != IPPROTO_UDP && !is_extension(ip->nexthdr))
		return because(REASON_NOT_OURS);
	__builtin_memcpy(destination, &ip->daddr, sizeof(destination));
	if (!find_slice6(destination, &slice))
		return ip->nexthdr != IPPROTO_UDP ? REASON_NOT_OURS : foreign(c, length_of(ip->payload_len));
	if (ip->nexthdr != IPPROTO_UDP) {
		if (!(port->aux & SIDE_ACCESS))
			return because(REASON_WRONG_SIDE);
		return ip->nexthdr == IPPROTO_FRAGMENT ? REASON_OUTER_FRAGMENT : REASON_OUTER_EXTENSION;
	}
	return gtpu_packet(c, job, &outer, length_of(ip->payload_len), &slice, port->aux, found);
}

static __always_inline enum reason pipeline(struct cursor *c, struct job *job, struct entry **found)
{
	struct ethernet *eth = parse_ethernet(c);
	struct vlan_header *vlan = (void *)eth;
	struct where port = {};
	__be16 proto;
	__u32 tag = 0;

	if (!eth)
		return because(REASON_MALFORMED_OUTER);
	proto = eth->proto;
	if (unlikely(is_vlan(proto))) {
		if (!take(c, sizeof(*vlan) - sizeof(*eth)))
			return because(REASON_MALFORMED_OUTER);
		tag = bpf_ntohs(vlan->tag) & 0xfff;
		if (proto != bpf_htons(ETH_P_8021Q) || is_vlan(vlan->proto) || !tag)
			return because(REASON_UNEXPECTED_VLAN);
		proto = vlan->proto;
	}
	if (!tag && proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
		return because(REASON_NOT_IPV4);
	if (!find_port(c->ctx->ingress_ifindex, tag, &port))
		return tag ? REASON_UNEXPECTED_VLAN : proto == bpf_htons(ETH_P_IPV6) ? REASON_NOT_IPV4 : REASON_UNKNOWN_PORT;
	if (proto == bpf_htons(ETH_P_IP))
		return ipv4_packet(c, job, &port, found);
	if (proto == bpf_htons(ETH_P_IPV6))
		return ipv6_packet(c, job, &port, found);
	return because(REASON_NOT_IPV4);
}

SEC("xdp")
int pgwu(struct xdp_md *ctx)
{
	struct cursor c = cursor_of(ctx);
	struct job job = { .qfi = NO_QFI };
	struct entry *entry = NULL;
	enum reason reason = pipeline(&c, &job, &entry);

	if (reason == GO_ON)
		reason = execute(&c, &job, entry);
	else if (is_dropped(reason))
		end_dropped(ctx, &job, reason);
	if (unlikely(!is_forwarded(reason)) && is_told(reason))
		reason = tell(ctx, &job, reason);
	count_reason(reason);
	return likely(is_forwarded(reason)) || is_sent(reason) ? job.verdict : verdict_of(reason);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
