//! One allocator against the fake API, call by call.

use ipam::{Allocator, Assigned, CallId, Error, RequestId, Tunnel, WATCHED, Want};
use model::store::{self, Event, Kind, Object, Reply, Request};
use model::v3::{IpPool, IpPoolSpec, IpReservation, IpReservationSpec};
use model::{Duration, Instant, Metadata, k8s};
use std::collections::BTreeMap;
use std::net::IpAddr;
use testkit::sim::{FakeApi, Verb};

const WALL: &str = "2026-11-23T03:07:29Z";

/// An API server and the allocator of `n1`, with what it asked for and was told.
struct Bench {
    api: FakeApi,
    allocator: Allocator,
    now: Instant,
    requests: u64,
    sent: Vec<(Verb, Kind)>,
    done: BTreeMap<RequestId, Result<Vec<Assigned>, Error>>,
}

impl Bench {
    fn new(pool: serde_json::Value) -> Bench {
        let mut api = FakeApi::default();
        let node = k8s::Node { metadata: Metadata::named("n1"), ..k8s::Node::default() };
        let spec: IpPoolSpec = serde_json::from_value(pool).expect("a pool");
        for object in [Object::Node(node), IpPool { metadata: Metadata::named("pool"), spec }.into()] {
            api.apply(&Request::Create(object)).expect("it is new");
        }
        let mut bench = Bench {
            api,
            allocator: Allocator::new("n1"),
            now: Instant::ZERO,
            requests: 0,
            sent: Vec::new(),
            done: BTreeMap::new(),
        };
        bench.list();
        bench
    }

    fn small() -> Bench {
        Bench::new(serde_json::json!({"cidr": "10.0.0.0/28", "blockSize": 29, "vxlanMode": "Always"}))
    }

    fn list(&mut self) {
        for kind in WATCHED {
            self.allocator.observe(&self.api.list(kind, self.api.revision()));
        }
    }

    fn restart(&mut self) {
        self.allocator = Allocator::new("n1");
        self.list();
    }

    fn ask(&mut self, want: Want) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.allocator.request(self.now, WALL, id, want);
        id
    }

    fn poll(&mut self) -> Option<(CallId, Request)> {
        let (call, request) = self.allocator.poll()?;
        self.sent.push(Verb::of(&request));
        Some((call, request))
    }

    fn answer(&mut self, call: CallId, reply: Reply) {
        self.allocator.handle(self.now, call, reply);
    }

    /// Answers everything until the allocator rests; time jumps to each of its timeouts.
    fn run(&mut self) {
        loop {
            while let Some((call, request)) = self.poll() {
                let reply = self.api.apply(&request);
                self.answer(call, reply);
            }
            while let Some((id, result)) = self.allocator.poll_done() {
                self.done.insert(id, result);
            }
            let Some(due) = self.allocator.poll_timeout() else { return };
            self.now = due;
            self.allocator.wake(due);
        }
    }

    fn addr(&self, id: RequestId) -> IpAddr {
        self.done[&id].as_ref().expect("an address")[0].addr
    }

    fn sent(&mut self) -> Vec<(Verb, Kind)> {
        std::mem::take(&mut self.sent)
    }

    fn count(&self, kind: Kind) -> usize {
        self.api.objects().filter(|object| object.kind() == kind).count()
    }
}

fn auto(handle: &str) -> Want {
    Want::Auto { handle: handle.to_owned(), attributes: BTreeMap::new(), pools: Vec::new() }
}

fn release(handle: &str) -> Want {
    Want::Release { handle: handle.to_owned() }
}

#[test]
fn nothing_is_asked_of_the_api_before_every_kind_has_listed() {
    let mut bench = Bench::small();
    bench.allocator = Allocator::new("n1");
    let id = bench.ask(auto("a"));
    for kind in WATCHED {
        assert_eq!(bench.allocator.poll(), None, "before {kind:?}");
        bench.allocator.observe(&bench.api.list(kind, bench.api.revision()));
    }
    bench.run();
    assert_eq!(bench.addr(id).to_string(), "10.0.0.0");
}

#[test]
fn the_first_address_costs_a_claim_and_the_next_two_writes() {
    use Kind::*;
    use Verb::*;
    let mut bench = Bench::small();
    bench.ask(auto("a"));
    bench.run();
    let claim = [(Create, BlockAffinity), (Create, IpamBlock), (Update, BlockAffinity)];
    let assign = [(Create, IpamHandle), (Update, IpamBlock)];
    assert_eq!(bench.sent(), [claim.as_slice(), &assign].concat());
    bench.ask(auto("b"));
    bench.run();
    assert_eq!(bench.sent(), assign);
    bench.ask(release("b"));
    bench.run();
    assert_eq!(bench.sent(), [(Update, IpamBlock), (Delete, IpamHandle)]);
}

#[test]
fn requests_that_wait_together_share_one_write_of_the_block() {
    let mut bench = Bench::small();
    bench.ask(auto("first"));
    bench.run();
    bench.sent();
    let ids: Vec<RequestId> = ["a", "b", "c", "d", "e"].map(|handle| bench.ask(auto(handle))).into();
    let handles: Vec<_> = std::iter::from_fn(|| bench.poll()).collect();
    assert_eq!(handles.len(), 5, "all handles at once");
    for (call, request) in handles {
        let reply = bench.api.apply(&request);
        bench.answer(call, reply);
    }
    bench.run();
    let writes = bench.sent().into_iter().filter(|sent| *sent == (Verb::Update, Kind::IpamBlock)).count();
    assert_eq!(writes, 1);
    let addresses: std::collections::BTreeSet<IpAddr> = ids.iter().map(|id| bench.addr(*id)).collect();
    assert_eq!(addresses.len(), 5);
}

#[test]
fn a_lost_answer_is_looked_up_before_anything_is_assigned_again() {
    let mut bench = Bench::small();
    bench.ask(auto("first"));
    bench.run();
    let id = bench.ask(auto("a"));
    let (call, request) = bench.poll().expect("the handle");
    let reply = bench.api.apply(&request);
    bench.answer(call, reply);
    let (call, request) = bench.poll().expect("the block");
    bench.api.apply(&request).expect("the write happens");
    bench.sent();
    bench.answer(call, Err(store::Error::Unknown("timed out".to_owned())));
    assert_eq!(bench.poll(), None, "not at once");
    bench.run();
    assert_eq!(bench.sent(), [(Verb::Get, Kind::IpamBlock)]);
    assert_eq!(bench.addr(id).to_string(), "10.0.0.1");
}

#[test]
fn a_conflict_is_read_and_decided_anew() {
    let mut bench = Bench::small();
    bench.ask(auto("first"));
    bench.run();
    let id = bench.ask(auto("a"));
    let (call, request) = bench.poll().expect("the handle");
    let reply = bench.api.apply(&request);
    bench.answer(call, reply);
    let (call, request) = bench.poll().expect("the block");
    let Request::Update(mut object) = request.clone() else { panic!("{request:?}") };
    object.metadata_mut().labels.insert("somebody".to_owned(), "else".to_owned());
    bench.api.apply(&Request::Update(object)).expect("somebody writes first");
    let reply = bench.api.apply(&request);
    assert_eq!(reply, Err(store::Error::Conflict));
    bench.answer(call, reply);
    bench.run();
    assert!(bench.done[&id].is_ok());
}

#[test]
fn an_old_watch_event_does_not_undo_what_the_api_answered() {
    let mut bench = Bench::small();
    let before = bench.api.revision();
    bench.ask(auto("a"));
    bench.run();
    bench.sent();
    let mut told = before;
    while let Some((revision, event)) = bench.api.next(Kind::IpamBlock, told) {
        bench.allocator.observe(&event);
        told = revision;
        if matches!(event, Event::Put(_)) {
            break;
        }
    }
    bench.ask(auto("b"));
    bench.run();
    assert_eq!(bench.sent(), [(Verb::Create, Kind::IpamHandle), (Verb::Update, Kind::IpamBlock)]);
}

#[test]
fn asking_twice_gives_nothing_new() {
    let mut bench = Bench::small();
    let (one, two) = (bench.ask(auto("a")), bench.ask(auto("a")));
    bench.run();
    assert_eq!(bench.addr(one), bench.addr(two));
    bench.restart();
    let three = bench.ask(auto("a"));
    bench.run();
    assert_eq!(bench.addr(one), bench.addr(three));
}

#[test]
fn a_cancelled_request_gives_back_what_it_got() {
    for calls_before in 0..6 {
        let mut bench = Bench::small();
        let id = bench.ask(auto("a"));
        for _ in 0..calls_before {
            if let Some((call, request)) = bench.poll() {
                let reply = bench.api.apply(&request);
                bench.answer(call, reply);
            }
        }
        bench.allocator.cancel(bench.now, id);
        let finished = bench.allocator.poll_done();
        bench.run();
        if finished.is_none() {
            assert_eq!(bench.count(Kind::IpamHandle), 0, "after {calls_before} calls");
        }
        assert_eq!(bench.done.len(), 0, "nothing is said of a cancelled request");
        assert_eq!(bench.allocator.pending(), Vec::<String>::new());
    }
}

#[test]
fn releasing_an_unknown_handle_is_success() {
    let mut bench = Bench::small();
    let id = bench.ask(release("nobody"));
    bench.run();
    assert_eq!(bench.done[&id], Ok(Vec::new()));
    assert_eq!(bench.sent(), [(Verb::Get, Kind::IpamHandle)]);
}

#[test]
fn a_release_after_a_restart_finds_the_block_by_the_handle() {
    let mut bench = Bench::small();
    bench.ask(auto("net.c1"));
    bench.run();
    bench.restart();
    let id = bench.ask(release("net.c1"));
    bench.run();
    assert_eq!(bench.done[&id], Ok(Vec::new()));
    assert_eq!(bench.count(Kind::IpamHandle), 0);
}

#[test]
fn an_old_word_that_a_block_is_gone_makes_no_release_forget_its_address() {
    let mut bench = Bench::small();
    let id = bench.ask(auto("a"));
    bench.run();
    let cidr = bench.done[&id].as_ref().expect("an address")[0].block;
    // Of an earlier block of that name, before another node took it over and gave it up again.
    bench.allocator.observe(&Event::Gone(store::Key::cluster(Kind::IpamBlock, model::names::block(cidr))));
    bench.sent();
    bench.ask(release("a"));
    bench.run();
    let sent = bench.sent();
    assert_eq!(sent.last(), Some(&(Verb::Delete, Kind::IpamHandle)));
    let freed = sent.contains(&(Verb::Update, Kind::IpamBlock));
    assert!(freed, "the address goes before its handle: {sent:?}");
}

#[test]
fn a_tunnel_address_is_kept_as_long_as_its_pool_wants_it() {
    let mut bench = Bench::small();
    let first = bench.ask(Want::Tunnel(Tunnel::Vxlan));
    bench.run();
    bench.restart();
    let second = bench.ask(Want::Tunnel(Tunnel::Vxlan));
    bench.run();
    assert_eq!(bench.addr(first), bench.addr(second));

    let pool = bench.api.objects().find(|object| object.kind() == Kind::IpPool).cloned();
    let Some(Object::IpPool(mut old)) = pool else { panic!("no pool") };
    old.spec.disabled = true;
    bench.api.apply(&Request::Update(old.clone().into())).expect("it is as it was read");
    let mut new = old;
    new.metadata = Metadata::named("pool-2");
    new.spec.disabled = false;
    new.spec.cidr = "10.9.0.0/28".parse().expect("a CIDR");
    bench.api.apply(&Request::Create(new.into())).expect("it is new");
    bench.restart();
    let third = bench.ask(Want::Tunnel(Tunnel::Vxlan));
    bench.run();
    assert!(bench.addr(third).to_string().starts_with("10.9.0."), "{:?}", bench.done);
    assert_eq!(bench.count(Kind::IpamHandle), 1);
}

#[test]
fn a_tunnel_whose_pool_changes_its_mode_meanwhile_is_refused_once() {
    let mut bench =
        Bench::new(serde_json::json!({"cidr": "10.0.0.0/28", "blockSize": 29, "ipipMode": "Always"}));
    bench.ask(auto("first"));
    bench.run();
    let id = bench.ask(Want::Tunnel(Tunnel::Ipip));
    // The handle is read, and made.
    for _ in 0..2 {
        let (call, request) = bench.poll().expect("a request");
        let reply = bench.api.apply(&request);
        bench.answer(call, reply);
    }
    let pool = bench.api.objects().find(|object| object.kind() == Kind::IpPool).cloned();
    let Some(Object::IpPool(mut pool)) = pool else { panic!("no pool") };
    pool.spec.ipip_mode = model::v3::EncapMode::Never;
    bench.allocator.observe(&Event::Put(pool.into()));
    bench.run();
    assert!(bench.done[&id].is_err(), "{:?}", bench.done);
}

#[test]
fn a_tunnel_keeps_its_address_where_no_pool_gives_another() {
    let mut bench = Bench::small();
    let id = bench.ask(Want::Tunnel(Tunnel::Vxlan));
    bench.run();
    let addr = bench.addr(id);
    let pool = bench.api.objects().find(|object| object.kind() == Kind::IpPool).cloned();
    let Some(Object::IpPool(mut pool)) = pool else { panic!("no pool") };
    pool.spec.vxlan_mode = model::v3::EncapMode::Never;
    bench.api.apply(&Request::Update(pool.into())).expect("it was just read");
    bench.restart();
    let id = bench.ask(Want::Tunnel(Tunnel::Vxlan));
    bench.run();
    assert_eq!(bench.addr(id), addr);
    let id = bench.ask(release(&Tunnel::Vxlan.handle("n1")));
    bench.run();
    assert!(bench.done[&id].is_ok());
    assert_eq!(bench.count(Kind::IpamHandle), 0);
}

#[test]
fn a_refusal_is_said_with_the_object_and_leaves_nothing() {
    let mut bench = Bench::small();
    bench.ask(auto("first"));
    bench.run();
    let id = bench.ask(auto("a"));
    let (call, request) = bench.poll().expect("the handle");
    let reply = bench.api.apply(&request);
    bench.answer(call, reply);
    let (call, _) = bench.poll().expect("the block");
    bench.answer(call, Err(store::Error::Refused("forbidden".to_owned())));
    bench.run();
    let error = bench.done[&id].as_ref().expect_err("it was refused").to_string();
    assert_eq!(error, "cannot write IpamBlock 10-0-0-0-29: the API server refused: forbidden");
    assert_eq!(bench.count(Kind::IpamHandle), 1, "only the first pod's");
}

#[test]
fn reserved_addresses_are_passed_over() {
    let mut bench = Bench::small();
    let reserved_cidrs = vec!["10.0.0.0/30".parse().expect("a CIDR")];
    let reservation =
        IpReservation { metadata: Metadata::named("r"), spec: IpReservationSpec { reserved_cidrs } };
    bench.allocator.observe(&Event::Put(reservation.into()));
    let id = bench.ask(auto("a"));
    bench.run();
    assert_eq!(bench.addr(id).to_string(), "10.0.0.4");
}

#[test]
fn an_empty_block_goes_when_its_pool_no_longer_selects_the_node() {
    let mut bench = Bench::small();
    bench.ask(auto("a"));
    bench.run();
    bench.ask(release("a"));
    bench.run();
    assert_eq!((bench.count(Kind::IpamBlock), bench.count(Kind::BlockAffinity)), (1, 1));
    bench.allocator.observe(&Event::Listed(Kind::IpPool, Vec::new()));
    bench.run();
    assert_eq!((bench.count(Kind::IpamBlock), bench.count(Kind::BlockAffinity)), (0, 0));
}

#[test]
fn ten_thousand_blocks_of_others_are_no_burden() {
    let mut bench = Bench::new(serde_json::json!({"cidr": "10.0.0.0/8", "blockSize": 26}));
    let spec: IpPoolSpec = serde_json::from_value(serde_json::json!({"cidr": "10.0.0.0/8"})).expect("a pool");
    let blocks: Vec<Object> = (0..10_000u32)
        .filter_map(|n| spec.cidr.nth(n * 64))
        .filter_map(|addr| model::Cidr::containing(addr, 26))
        .map(|cidr| {
            let wall = ipam::Wall::parse(WALL);
            let spec = ipam::block::new(cidr, "other", &wall);
            model::v3::IpamBlock { metadata: Metadata::named(model::names::block(cidr)), spec }.into()
        })
        .collect();
    bench.allocator.observe(&Event::Listed(Kind::IpamBlock, blocks));
    let before = std::time::Instant::now();
    let ids: Vec<RequestId> = (0..200).map(|n| bench.ask(auto(&format!("net.{n}")))).collect();
    bench.run();
    assert!(ids.iter().all(|id| bench.done[id].is_ok()));
    assert!(bench.allocator.snapshot().blocks.len() < 10, "others' blocks are not kept whole");
    println!("200 addresses in {:?}", before.elapsed());
    assert!(bench.now < Instant::ZERO + Duration::from_secs(1), "no back-off without a conflict");
}

/// Nineteen nodes borrow from the one block that there is, and three of ten writes conflict besides.
#[test]
fn f18_twenty_writers_of_one_block_get_each_an_address_of_their_own_within_a_second() {
    const WRITERS: u64 = 20;
    let Bench { mut api, .. } = Bench::new(serde_json::json!({"cidr": "10.0.0.0/26", "blockSize": 26}));
    let mut now = Instant::ZERO;
    for n in 2..=WRITERS {
        let node = k8s::Node { metadata: Metadata::named(format!("n{n}")), ..k8s::Node::default() };
        api.apply(&Request::Create(Object::Node(node))).expect("it is new");
    }
    let mut writers: Vec<Allocator> = (1..=WRITERS).map(|n| Allocator::new(&format!("n{n}"))).collect();
    for (n, writer) in (0..).zip(&mut writers) {
        WATCHED.iter().for_each(|kind| writer.observe(&api.list(*kind, api.revision())));
        for request in 0..3 {
            let id = RequestId(n * 3 + request);
            writer.request(now, WALL, id, auto(&format!("h{}", id.0)));
        }
    }
    let (mut done, mut writes) = (BTreeMap::new(), 0_u64);
    while done.len() < 3 * WRITERS as usize {
        let mut rests = true;
        for writer in &mut writers {
            // One call each, so that all have read before the first has written.
            if let Some((call, request)) = writer.poll() {
                rests = false;
                let injected = matches!(request, Request::Update(_)) && {
                    writes += 1;
                    writes * 7 % 10 < 3
                };
                let reply = if injected { Err(store::Error::Conflict) } else { api.apply(&request) };
                writer.handle(now, call, reply);
            }
            while let Some((id, result)) = writer.poll_done() {
                done.insert(id, (result.expect("an address")[0].addr, now));
            }
        }
        if rests {
            now = writers.iter().filter_map(Allocator::poll_timeout).min().expect("somebody waits");
            writers.iter_mut().for_each(|writer| writer.wake(now));
        }
    }
    let addrs: std::collections::BTreeSet<IpAddr> = done.values().map(|(addr, _)| *addr).collect();
    assert_eq!(addrs.len(), done.len(), "an address was given twice");
    let latest = done.values().map(|(_, at)| *at).max().expect("all are done");
    assert!(latest < Instant::ZERO + Duration::from_secs(1), "{latest:?}");
    assert!(writes < 60 * WRITERS, "{writes} writes");
}
