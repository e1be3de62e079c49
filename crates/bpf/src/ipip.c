// IP in IP (RFC 2003) by filters of clsact. Two programs, each with a map of its own parameters:
//
//   accept   ingress of the uplink   who may send? Marks for the kernel's tunl0, or decapsulates into the stand-in's, whose
//                                    inner packets' senders it tells what a router says of the outer ones' size
//   send     egress of tunl0         the stand-in's outer header
//
// A packet that `accept` does not judge honest goes on unchanged: other filters, the stack and the rule at INPUT, which drops
// what lacks the mark, see it as it came. The uplink must be an Ethernet device.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// linux/bpf.h, struct __sk_buff, as far as it is used.
struct packet {
    u32 len, pkt_type, mark, queue_mapping, protocol;
    u32 vlan[3], priority, ifindex[2], tc_index, cb[5], hash, tc_classid;
    u32 data, data_end;
};

struct ethernet {
    u8 dst[6], src[6];
    u16 protocol;
} __attribute__((packed));

struct ipv4 {
    u8 version_ihl, tos;
    u16 tot_len, id, frag_off;
    u8 ttl, protocol;
    u16 check;
    u32 saddr, daddr;
};

struct icmp {
    u8 type, code;
    u16 check, unused, mtu;
};

// What differs from node to node. Addresses are in network byte order.
struct parameters {
    u32 local;
    u32 device;  // accept: tunl0 of the stand-in, or 0: mark. send: the uplink.
};

// A key of the map `sources`; its value is the address of the node.
struct source {
    u32 prefix_len, addr;
};

// A key of the map `impostors`, whose value counts: the outer source, and the node that the inner one is of, or 0. The kernel
// forgets those that were not seen for longest, however many there are.
struct impostor {
    u32 sender, holder;
};

// The loader puts the maps' descriptors here.
extern char parameters, sources, impostors;

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u32 (*prandom_u32)(void) = (void *)7;
static long (*store_bytes)(struct packet *, u32 offset, const void *from, u32 len, u64 flags) = (void *)9;
static long (*l3_csum_replace)(struct packet *, u32 offset, u64 from, u64 to, u64 size) = (void *)10;
static long (*redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*change_tail)(struct packet *, u32 len, u64 flags) = (void *)38;
static long (*pull_data)(struct packet *, u32 len) = (void *)39;
static long (*adjust_room)(struct packet *, int len, u32 mode, u64 flags) = (void *)50;
static long (*redirect_neigh)(u32 ifindex, void *params, int len, u64 flags) = (void *)152;

enum {
    NEXT = -1,  // TC_ACT_UNSPEC
    DROP = 2,   // TC_ACT_SHOT
    TO_US = 0,  // PACKET_HOST
    INGRESS = 1,
    BEHIND_MAC = 1,       // BPF_ADJ_ROOM_MAC
    FIXED_GSO = 1 << 0,   // the sizes of segments count in the outer header already, by the device's MTU
    ENCAP_IPV4 = 1 << 1,  // whole GSO packets stay whole
    RECOMPUTE_CHECKSUM = 1 << 0,
    NO_EXIST = 1,  // BPF_NOEXIST
    PROTO_ICMP = 1,
    PROTO_IPIP = 4,
    UNREACHABLE = 3,  // RFC 792; with the code, RFC 1191 §4
    TOO_BIG = 4,
    NO_OPTIONS = 0x45,
    ETH = sizeof(struct ethernet),
    IP = sizeof(struct ipv4),
    ECN = 3,  // RFC 3168 §5; all bits: congestion experienced
    ECN_ECT0 = 2,
    ACCEPTED = MARK,
};

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define be16(n) ((u16)__builtin_bswap16(n))
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "big-endian machines are not provided for"
#endif

// The first `len` bytes of the frame, readable; null if it is shorter.
INLINE void *frame(struct packet *packet, u32 len) {
    void *data = (void *)(u64)packet->data;
    if (data + len <= (void *)(u64)packet->data_end)
        return data;
    if (pull_data(packet, len))
        return 0;
    data = (void *)(u64)packet->data;
    return data + len <= (void *)(u64)packet->data_end ? data : 0;
}

INLINE struct parameters *own(void) {
    u32 first = 0;
    return map_lookup(&parameters, &first);
}

// The MAC that spells an address: 02:01 and its bytes.
INLINE void spell(u8 *mac, u32 addr) {
    mac[0] = 2;
    mac[1] = 1;
    __builtin_memcpy(mac + 2, &addr, 4);
}

// The checksum over so many octets (RFC 1071), which must be even in number.
INLINE u16 checksum(const void *octets, u32 len) {
    const u16 *words = octets;
    u32 sum = 0;
#pragma unroll
    for (u32 i = 0; i < len / 2; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    return ~((sum & 0xffff) + (sum >> 16));
}

// Somebody sends in another's name: the rule at INPUT drops it, and here it is remembered who.
INLINE int refuse(u32 sender, u32 holder) {
    struct impostor impostor = {sender, holder};
    u64 first = 1;
    u64 *packets = map_lookup(&impostors, &impostor);
    if (packets)
        __sync_fetch_and_add(packets, 1);
    else
        map_update(&impostors, &impostor, &first, NO_EXIST);
    return NEXT;
}

// A router says that a packet of ours is too big: its sender is told of the inner one (RFC 2003 §4), as the kernel's ipip
// does. What does not quote so much, or quotes what we cannot have sent, goes on unchanged.
INLINE int relay_too_big(struct packet *packet, struct parameters *mine) {
    struct said {
        struct ipv4 ip;
        struct icmp icmp;
        struct ipv4 outer, inner;
        u8 ports[8];
    } __attribute__((packed));
    u8 *data = frame(packet, ETH + sizeof(struct said));
    if (!data)
        return NEXT;
    struct said *said = (void *)data + ETH;
    if (said->ip.version_ihl != NO_OPTIONS || said->ip.frag_off & be16(0x3fff))
        return NEXT;
    if (said->icmp.type != UNREACHABLE || said->icmp.code != TOO_BIG || be16(said->icmp.mtu) <= IP)
        return NEXT;
    if (said->outer.version_ihl != NO_OPTIONS || said->outer.protocol != PROTO_IPIP || said->outer.saddr != mine->local)
        return NEXT;
    struct source far = {32, said->inner.daddr};
    u32 *node = map_lookup(&sources, &far);
    if (said->inner.version_ihl != NO_OPTIONS || !node || *node != said->outer.daddr)
        return NEXT;
    struct {
        struct ipv4 ip;
        struct icmp icmp;
        struct ipv4 inner;
        u8 ports[8];
    } __attribute__((packed, aligned(4))) told = {.ip = said->ip, .icmp = said->icmp, .inner = said->inner};
    __builtin_memcpy(told.ports, said->ports, sizeof told.ports);
    told.ip.tot_len = be16(sizeof told);
    told.ip.daddr = told.inner.saddr;
    told.ip.check = 0;
    told.ip.check = checksum(&told.ip, IP);
    told.icmp.mtu = be16(be16(told.icmp.mtu) - IP);
    told.icmp.check = 0;
    told.icmp.check = checksum(&told.icmp, sizeof told - IP);
    if (change_tail(packet, ETH + sizeof told, 0) || store_bytes(packet, ETH, &told, sizeof told, RECOMPUTE_CHECKSUM))
        return DROP;
    return NEXT;
}

SECTION("tc_accept") int ipip_accept(struct packet *packet) {
    u8 *data = frame(packet, ETH + IP);
    if (!data || packet->pkt_type != TO_US)
        return NEXT;
    struct ipv4 *outer = (void *)data + ETH;
    struct parameters *mine = own();
    if (!mine || outer->daddr != mine->local)
        return NEXT;
    if (outer->protocol == PROTO_ICMP && mine->device)
        return relay_too_big(packet, mine);
    if (outer->protocol != PROTO_IPIP)
        return NEXT;
    // Fragments (any, RFC 791 §3.1) and options are not judged.
    if (outer->version_ihl != NO_OPTIONS || outer->frag_off & be16(0x3fff))
        return NEXT;
    data = frame(packet, ETH + IP + IP);
    if (!data)
        return NEXT;
    outer = (void *)data + ETH;
    struct ipv4 *inner = (void *)data + ETH + IP;
    if (inner->version_ihl >> 4 != 4)
        return NEXT;
    struct source source = {32, inner->saddr};
    u32 *node = map_lookup(&sources, &source);
    if (!node || *node != outer->saddr)
        return refuse(outer->saddr, node ? *node : 0);
    if (!mine->device) {
        packet->mark |= ACCEPTED;
        return NEXT;
    }
    // Congestion on the way is told to the inner packet's receiver (RFC 6040 §4.2).
    u8 tos = inner->tos;
    if ((outer->tos & ECN) == ECN && (tos & ECN) != ECN) {
        if (!(tos & ECN))
            return DROP;
        u8 marked = tos | ECN;
        l3_csum_replace(packet, ETH + IP + 10, be16(tos), be16(marked), 2);
        store_bytes(packet, ETH + IP + 1, &marked, 1, 0);
    }
    if (adjust_room(packet, -IP, BEHIND_MAC, FIXED_GSO))
        return DROP;
    u8 mac[6];
    spell(mac, mine->local);
    store_bytes(packet, 0, mac, sizeof mac, 0);
    return redirect(mine->device, INGRESS);
}

SECTION("tc_send") int ipip_send(struct packet *packet) {
    u8 *data = frame(packet, ETH + IP);
    struct parameters *mine = own();
    if (!data || !mine || packet->protocol != be16(0x0800))
        return DROP;
    struct ethernet *ethernet = (void *)data;
    if (ethernet->dst[0] != 2 || ethernet->dst[1] != 1)
        return DROP;
    struct ipv4 *inner = (void *)data + ETH;
    u8 ecn = inner->tos & ECN;
    // As the kernel's ipip does: TTL and "don't fragment" are the inner packet's, of TOS only what ECN needs.
    struct ipv4 outer = {
        .version_ihl = NO_OPTIONS,
        .tos = ecn == ECN ? ECN_ECT0 : ecn,
        .tot_len = be16(be16(inner->tot_len) + IP),
        .id = prandom_u32(),
        .frag_off = inner->frag_off & be16(0x4000),
        .ttl = inner->ttl,
        .protocol = PROTO_IPIP,
        .saddr = mine->local,
    };
    __builtin_memcpy(&outer.daddr, ethernet->dst + 2, 4);
    outer.check = checksum(&outer, IP);
    if (adjust_room(packet, IP, BEHIND_MAC, FIXED_GSO | ENCAP_IPV4))
        return DROP;
    if (store_bytes(packet, ETH, &outer, IP, 0))
        return DROP;
    // The outer packet's own route, next hop across a router included.
    return redirect_neigh(mine->device, 0, 0, 0);
}
