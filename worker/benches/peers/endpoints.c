/*
 * Far end and yardstick of the media benchmark: N bare two-way G.711 endpoints in one thread.
 *
 * Each endpoint has a UDP socket on ADDRESS, port 10000 + 2 i, and sends 172 octets every 20 ms,
 * in slots of 1 ms. What it receives is judged by the kernel's receive stamps, so that the sender
 * is not asked about itself.
 *
 *   endpoints N ADDRESS SECONDS          learns where to send to from the first packet; RTCP on
 *                                        the port above: the far end of a worker
 *   endpoints N ADDRESS SECONDS REMOTE   talks to the same ports of REMOTE, RTP only: the least
 *                                        that anybody who does the same work has to do
 *
 * Commands on standard input, a letter each: b begins a window of at most SECONDS, e ends it and
 * prints one line of JSON. The end of the input ends the program.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BASE = 10000,            /* first port */
    PTIME_MS = 20,
    PACKET = 172,            /* RTP header and 20 ms of G.711 */
    REPORT_MS = 5000,        /* between two RTCP reports, RFC 3550 section 6.2 */
    REPORT = 68,             /* sender report with one block, and a CNAME */
    PARTS = 20,              /* parts of a slot when arrivals are counted */
    EVENTS = 1024,
    COMMANDS = -1,           /* epoll token of standard input */
};
#define MS 1000000LL
#define NTP_EPOCH 2208988800U

/* One endpoint. */
struct endpoint {
    int rtp, rtcp;
    bool connected;
    uint16_t sequence;
    uint32_t timestamp, octets, packets;
    uint8_t packet[PACKET];
    /* of the stream received, since its first packet */
    bool heard;
    uint32_t source;
    uint16_t highest;
    uint32_t cycles;
    double jitter;           /* RFC 3550 A.8, timestamp units */
    int64_t last_arrival;
    uint32_t last_timestamp;
    uint32_t last_report;    /* middle of the NTP time of the last sender report received */
    int64_t last_report_at;
    /* of the window */
    int64_t first_arrival;
    int64_t first_number, highest_number;
    int32_t *offsets;        /* arrival - 20 ms x number, from the first, in 100 ns */
    int recorded;
};

static struct endpoint *endpoints;
static int count, capacity, epoll;
static bool reports;

/* The window. */
static bool recording;
static int64_t window_began, window_ended;
static uint64_t received, sent, send_errors, late_slots;
static uint32_t *arrivals;   /* by PARTS of a slot since window_began */
static int64_t parts;

static int64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put32(uint8_t *at, uint32_t value)
{
    value = htonl(value);
    memcpy(at, &value, 4);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

static struct sockaddr_in socket_address(const char *address, int port)
{
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (!inet_aton(address, &made.sin_addr)) {
        fprintf(stderr, "%s is no IPv4 address\n", address);
        exit(2);
    }
    return made;
}

static int open_socket(const char *address, int port, int token)
{
    int on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in local = socket_address(address, port);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = token};
    if (fd < 0 || bind(fd, (void *)&local, sizeof local))
        fail("socket of an endpoint");
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll");
    return fd;
}

static void open_endpoint(int index, const char *address, const char *remote)
{
    struct endpoint *e = &endpoints[index];
    int port = BASE + 2 * index;
    e->rtp = open_socket(address, port, index << 1);
    e->rtcp = reports ? open_socket(address, port + 1, index << 1 | 1) : -1;
    if (remote) {
        struct sockaddr_in to = socket_address(remote, port);
        if (connect(e->rtp, (void *)&to, sizeof to))
            fail("connect");
        e->connected = true;
    }
    e->packet[0] = 0x80;
    e->packet[1] = 8; /* PCMA */
    put32(e->packet + 8, 0x10000000 + index);
    memset(e->packet + 12, 0xd5, PACKET - 12);
    e->offsets = malloc(capacity * sizeof *e->offsets);
    if (!e->offsets)
        fail("memory");
    /* Touched now, so that no page is missing while packets arrive. */
    memset(e->offsets, 1, capacity * sizeof *e->offsets);
}

static void send_packet(struct endpoint *e)
{
    if (!e->connected)
        return;
    uint16_t sequence = htons(e->sequence++);
    memcpy(e->packet + 2, &sequence, 2);
    put32(e->packet + 4, e->timestamp);
    e->timestamp += 8 * PTIME_MS;
    if (send(e->rtp, e->packet, PACKET, 0) == PACKET) {
        e->packets++;
        e->octets += PACKET - 12;
        sent += recording;
    } else {
        send_errors += recording;
    }
}

/* A sender report with one report block (RFC 3550 section 6.4.1) and a CNAME (section 6.5.1). */
static void send_report(struct endpoint *e)
{
    uint8_t out[REPORT] = {0x81, 200, 0, 12};
    int64_t wall = now(CLOCK_REALTIME);
    if (!e->connected)
        return;
    memcpy(out + 4, e->packet + 8, 4);
    put32(out + 8, wall / (1000 * MS) + NTP_EPOCH);
    put32(out + 12, ((uint64_t)(wall % (1000 * MS)) << 32) / (1000 * MS));
    put32(out + 16, e->timestamp);
    put32(out + 20, e->packets);
    put32(out + 24, e->octets);
    put32(out + 28, e->source);
    put32(out + 36, e->cycles + e->highest);
    put32(out + 40, e->jitter);
    put32(out + 44, e->last_report);
    if (e->last_report_at)
        put32(out + 48, (wall - e->last_report_at) * 65536 / (1000 * MS));
    memcpy(out + 52, (uint8_t[]){0x81, 202, 0, 3}, 4);
    memcpy(out + 56, e->packet + 8, 4);
    memcpy(out + 60, "\1\4peer", 6);
    if (send(e->rtcp, out, REPORT, 0) != REPORT)
        send_errors += recording;
}

/* Takes one datagram; its length, or -1. `at` is the kernel's receive time. */
static ssize_t take(int fd, uint8_t *buffer, size_t size, struct sockaddr_in *from, int64_t *at)
{
    char control[64];
    struct iovec part = {buffer, size};
    struct msghdr message = {
        .msg_name = from,
        .msg_namelen = sizeof *from,
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    ssize_t length = recvmsg(fd, &message, 0);
    *at = 0;
    if (length < 0)
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            *at = t.tv_sec * 1000 * MS + t.tv_nsec;
        }
    }
    return length;
}

/* Sends to where the first packet came from. */
static void learn(struct endpoint *e, struct sockaddr_in from)
{
    if (connect(e->rtp, (void *)&from, sizeof from))
        fail("connect");
    from.sin_port = htons(ntohs(from.sin_port) + 1);
    if (connect(e->rtcp, (void *)&from, sizeof from))
        fail("connect");
    e->connected = true;
}

static void record(struct endpoint *e, int64_t number, int64_t at)
{
    int64_t part = (at - window_began) / (MS / PARTS);
    received++;
    if (part >= 0 && part < parts)
        arrivals[part]++;
    if (!e->recorded) {
        e->first_arrival = at;
        e->first_number = e->highest_number = number;
    }
    if (number > e->highest_number)
        e->highest_number = number;
    if (e->recorded < capacity)
        e->offsets[e->recorded++] =
            (at - e->first_arrival - (number - e->first_number) * PTIME_MS * MS) / 100;
}

static void receive_rtp(struct endpoint *e)
{
    uint8_t buffer[256];
    struct sockaddr_in from;
    int64_t at;
    ssize_t length = take(e->rtp, buffer, sizeof buffer, &from, &at);
    if (length < 12 || buffer[0] >> 6 != 2)
        return;
    uint16_t sequence = buffer[2] << 8 | buffer[3];
    uint32_t timestamp = get32(buffer + 4), source = get32(buffer + 8);
    if (!e->connected)
        learn(e, from);
    if (!e->heard || source != e->source) {
        e->heard = true;
        e->source = source;
        e->highest = sequence;
        e->cycles = 0;
        e->jitter = 0;
    } else {
        double step = (at - e->last_arrival) * 8e-6 - (int32_t)(timestamp - e->last_timestamp);
        e->jitter += (fabs(step) - e->jitter) / 16;
    }
    if ((uint16_t)(sequence - e->highest) < 0x8000) {
        if (sequence < e->highest)
            e->cycles += 65536;
        e->highest = sequence;
    }
    e->last_arrival = at;
    e->last_timestamp = timestamp;
    if (recording)
        record(e, (int64_t)e->cycles + e->highest - (uint16_t)(e->highest - sequence), at);
}

static void receive_rtcp(struct endpoint *e)
{
    uint8_t buffer[256];
    struct sockaddr_in from;
    int64_t at;
    ssize_t length = take(e->rtcp, buffer, sizeof buffer, &from, &at);
    if (length >= 28 && buffer[0] >> 6 == 2 && buffer[1] == 200) {
        e->last_report = get32(buffer + 8) << 16 | get32(buffer + 12) >> 16;
        e->last_report_at = at;
    }
}

static void begin(void)
{
    for (int i = 0; i < count; i++)
        endpoints[i].recorded = 0;
    memset(arrivals, 0, parts * sizeof *arrivals);
    received = sent = send_errors = late_slots = 0;
    window_began = now(CLOCK_REALTIME);
    recording = true;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The value that a share of the sorted values does not exceed. */
static uint32_t quantile(const uint32_t *sorted, size_t n, double share)
{
    size_t rank = ceil(n * share);
    return n ? sorted[(rank ? rank : 1) - 1] : 0;
}

/*
 * Packets per slot. A sender's slots begin somewhere within our milliseconds: where a slot begins
 * is taken to be the part of a millisecond that holds the fewest arrivals.
 */
static void print_slots(int64_t length)
{
    uint64_t by_part[PARTS] = {0}, by_turn[PTIME_MS] = {0}, total = 0, fullest = 0;
    int64_t slots = length / MS - 1, first = 0;
    if (slots > parts / PARTS - 1)
        slots = parts / PARTS - 1;
    if (slots < PTIME_MS)
        fail("window too short");
    slots -= slots % PTIME_MS;
    for (int64_t part = 0; part < slots * PARTS; part++)
        by_part[part % PARTS] += arrivals[part];
    for (int part = 1; part < PARTS; part++)
        if (by_part[part] < by_part[first])
            first = part;
    uint32_t *sizes = calloc(slots, sizeof *sizes);
    if (!sizes)
        fail("memory");
    for (int64_t slot = 0; slot < slots; slot++) {
        for (int part = 0; part < PARTS; part++)
            sizes[slot] += arrivals[first + slot * PARTS + part];
        by_turn[slot % PTIME_MS] += sizes[slot];
        total += sizes[slot];
    }
    for (int turn = 0; turn < PTIME_MS; turn++)
        if (by_turn[turn] > fullest)
            fullest = by_turn[turn];
    qsort(sizes, slots, sizeof *sizes, by_value);
    printf("\"slot_mean\":%.3f,\"slot_p99\":%u,\"slot_p999\":%u,\"slot_max\":%u,"
           "\"turn_peak\":%.4f,",
           (double)total / slots, quantile(sizes, slots, 0.99), quantile(sizes, slots, 0.999),
           sizes[slots - 1], total ? (double)fullest * PTIME_MS / total : 0);
    free(sizes);
}

/* Lateness of a packet: how much later it came than the earliest one of its stream, measured by
 * the stream's own rhythm of 20 ms. */
static void print_lateness(void)
{
    size_t n = 0, late = 0;
    int64_t lost = 0;
    int heard = 0;
    uint32_t *all = malloc((received ? received : 1) * sizeof *all);
    if (!all)
        fail("memory");
    for (int i = 0; i < count; i++) {
        struct endpoint *e = &endpoints[i];
        int32_t earliest = INT32_MAX;
        if (!e->recorded)
            continue;
        heard++;
        lost += e->highest_number - e->first_number + 1 - e->recorded;
        for (int k = 0; k < e->recorded; k++)
            if (e->offsets[k] < earliest)
                earliest = e->offsets[k];
        for (int k = 0; k < e->recorded; k++) {
            all[n] = e->offsets[k] - earliest;
            late += all[n++] > 10000;
        }
    }
    qsort(all, n, sizeof *all, by_value);
    printf("\"streams\":%d,\"judged\":%zu,\"lost\":%lld,\"late\":%zu,"
           "\"late_p50_us\":%.1f,\"late_p99_us\":%.1f,\"late_p999_us\":%.1f,\"late_max_us\":%.1f}\n",
           heard, n, (long long)lost, late, quantile(all, n, 0.5) / 10.0,
           quantile(all, n, 0.99) / 10.0, quantile(all, n, 0.999) / 10.0,
           n ? all[n - 1] / 10.0 : 0);
    free(all);
}

static void end(void)
{
    if (!recording)
        return;
    recording = false;
    window_ended = now(CLOCK_REALTIME);
    int64_t length = window_ended - window_began;
    printf("{\"window_s\":%.3f,\"received\":%llu,\"sent\":%llu,\"send_errors\":%llu,"
           "\"own_late_slots\":%llu,",
           length / 1e9, (unsigned long long)received, (unsigned long long)sent,
           (unsigned long long)send_errors, (unsigned long long)late_slots);
    print_slots(length);
    print_lateness();
    fflush(stdout);
}

/* Obeys what came on standard input. */
static void obey(void)
{
    char letters[64];
    ssize_t length = read(STDIN_FILENO, letters, sizeof letters);
    if (length == 0 || (length < 0 && errno != EAGAIN))
        exit(0);
    for (ssize_t i = 0; i < length; i++) {
        if (letters[i] == 'b')
            begin();
        else if (letters[i] == 'e')
            end();
    }
}

/* Takes what has arrived: a datagram per readable socket and round. */
static void receive(void)
{
    struct epoll_event events[EVENTS];
    int n;
    do {
        n = epoll_wait(epoll, events, EVENTS, 0);
        for (int i = 0; i < n; i++) {
            int token = events[i].data.u32;
            if (token == COMMANDS)
                obey();
            else if (token & 1)
                receive_rtcp(&endpoints[token >> 1]);
            else
                receive_rtp(&endpoints[token >> 1]);
        }
    } while (n == EVENTS);
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: endpoints N ADDRESS SECONDS [REMOTE]\n");
        return 2;
    }
    count = atoi(argv[1]);
    const char *address = argv[2], *remote = argc > 4 ? argv[4] : NULL;
    int seconds = atoi(argv[3]);
    capacity = seconds * 1000 / PTIME_MS + 100;
    parts = (int64_t)seconds * 1000 * PARTS;
    reports = !remote;
    endpoints = calloc(count, sizeof *endpoints);
    arrivals = calloc(parts, sizeof *arrivals);
    epoll = epoll_create1(0);
    struct epoll_event commands = {.events = EPOLLIN, .data.u32 = COMMANDS};
    if (!endpoints || !arrivals || epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &commands))
        fail("setup");
    fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < count; i++)
        open_endpoint(i, address, remote);
    puts("ready");
    fflush(stdout);

    int64_t start = now(CLOCK_MONOTONIC);
    for (int64_t slot = 0;; slot++) {
        int64_t due = start + slot * MS;
        struct timespec until = {due / (1000 * MS), due % (1000 * MS)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        late_slots += recording && now(CLOCK_MONOTONIC) - due > MS;
        for (int i = slot % PTIME_MS; i < count; i += PTIME_MS)
            send_packet(&endpoints[i]);
        for (int i = slot % REPORT_MS; reports && i < count; i += REPORT_MS)
            send_report(&endpoints[i]);
        receive();
    }
}
