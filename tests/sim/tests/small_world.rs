//! A world so small that everything that can happen in it does: two nodes, one block, three requests, and every order in
//! which calls arrive, are answered, and are heard of by the other node; a crash of a node at every point besides.
//!
//! From each state every move is made; a state that was seen before is not looked at again. What bounds it: an answer that
//! is there is heard before anything else happens, and how often a node hears of others while there is something else to do.

use ipam::check::Problem;
use ipam::{Allocator, CallId, RequestId, WATCHED, Want};
use model::store::{Event, Key, Kind, Object, Reply, Request};
use model::v3::{IpPool, IpPoolSpec};
use model::{Instant, Metadata, k8s};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use testkit::at_length;
use testkit::sim::{FakeApi, Revision, laws};

const WALL: &str = "2026-11-23T03:07:29Z";

/// What is asked of which node, in this order: by the handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Add(usize, &'static str),
    Del(usize, &'static str),
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// The next request is made.
    Ask,
    /// A call of a node is carried out.
    Arrive(usize, CallId),
    /// A node gets the answer of a call.
    Answer(usize, CallId),
    /// A node hears of all that it has not heard of.
    Hear(usize),
    /// Nothing else can happen, and somebody waits for a time.
    Wait,
    /// A node's agent dies and starts again; its runtime deletes what was not answered.
    Crash(usize),
}

#[derive(Clone, Debug)]
struct Node {
    name: String,
    allocator: Allocator,
    told: Revision,
    /// How often it may hear of others while there is something else to do.
    hears: usize,
    sent: BTreeMap<CallId, Request>,
    answers: BTreeMap<CallId, Reply>,
    asked: BTreeMap<RequestId, Ask>,
}

#[derive(Clone, Debug)]
struct World {
    api: FakeApi,
    nodes: [Node; 2],
    asks: Vec<Ask>,
    /// Who has which address, by ADD's answer.
    given: BTreeMap<&'static str, IpAddr>,
    requests: u64,
    crashes: usize,
    /// Handles whose creation arrived when its caller was no more: the collector's work.
    strays: BTreeSet<String>,
    now: Instant,
}

impl World {
    fn new(asks: &[Ask], crashes: usize, hears: usize) -> World {
        let mut api = FakeApi::default();
        let names = ["n1", "n2"];
        let spec = serde_json::json!({"cidr": "10.0.0.0/30", "blockSize": 30});
        let spec: IpPoolSpec = serde_json::from_value(spec).expect("a pool's");
        let nodes = names.map(|name| k8s::Node { metadata: Metadata::named(name), ..k8s::Node::default() });
        for object in nodes.map(Object::Node).into_iter().chain([IpPool {
            metadata: Metadata::named("pool"),
            spec: spec.defaulted(),
        }
        .into()])
        {
            api.apply(&Request::Create(object)).expect("it is new");
        }
        let nodes = names.map(|name| Node::start(name, &api, hears));
        let (asks, given) = (asks.iter().rev().copied().collect(), BTreeMap::new());
        World { api, nodes, asks, given, requests: 0, crashes, strays: BTreeSet::new(), now: Instant::ZERO }
    }

    fn moves(&self) -> Vec<Move> {
        let mut answers =
            self.nodes.iter().enumerate().filter_map(|(n, node)| Some((n, *node.answers.keys().next()?)));
        if let Some((n, call)) = answers.next() {
            return vec![Move::Answer(n, call)];
        }
        let mut moves = Vec::new();
        // A pod is deleted after it was added.
        if let Some(ask) = self.asks.last()
            && !matches!(ask, Ask::Del(_, handle) if !self.given.contains_key(handle))
        {
            moves.push(Move::Ask);
        }
        for (n, node) in self.nodes.iter().enumerate() {
            moves.extend(node.sent.keys().map(|call| Move::Arrive(n, *call)));
            if node.hears > 0 && node.has_news(&self.api) {
                moves.push(Move::Hear(n));
            }
        }
        if moves.is_empty() {
            moves.extend((0..2).filter(|n| self.nodes[*n].has_news(&self.api)).map(Move::Hear).take(1));
        }
        let waits =
            |node: &Node| !node.allocator.pending().is_empty() && node.allocator.poll_timeout().is_some();
        if moves.is_empty() && self.nodes.iter().any(waits) {
            moves.push(Move::Wait);
        }
        let busy = |n: &usize| !self.nodes[*n].asked.is_empty();
        if self.crashes > 0 {
            moves.extend((0..2).filter(busy).map(Move::Crash));
        }
        moves
    }

    fn make(&mut self, next: Move) {
        match next {
            Move::Ask => {
                let ask = self.asks.pop().expect("seen in `moves`");
                self.ask(ask);
            }
            Move::Arrive(n, call) => {
                let request = self.nodes[n].sent.remove(&call).expect("seen in `moves`");
                let reply = self.api.apply(&request);
                match request {
                    _ if call.0 < LATE => _ = self.nodes[n].answers.insert(call, reply),
                    Request::Create(Object::IpamHandle(handle)) => {
                        self.strays.insert(handle.spec.handle_id);
                    }
                    _ => {}
                }
            }
            Move::Answer(n, call) => {
                let reply = self.nodes[n].answers.remove(&call).expect("seen in `moves`");
                self.nodes[n].allocator.handle(self.now, call, reply);
            }
            Move::Hear(n) => {
                self.nodes[n].hears = self.nodes[n].hears.saturating_sub(1);
                self.nodes[n].hear(&self.api);
            }
            Move::Wait => {
                let due = self.nodes.iter().filter_map(|node| node.allocator.poll_timeout()).min();
                self.now = due.expect("seen in `moves`");
                self.nodes.iter_mut().for_each(|node| node.allocator.wake(self.now));
            }
            Move::Crash(n) => {
                self.crashes -= 1;
                let name = self.nodes[n].name.clone();
                let before = std::mem::replace(&mut self.nodes[n], Node::start(&name, &self.api, 0));
                // What was sent may still arrive.
                self.nodes[n].sent =
                    before.sent.into_iter().map(|(call, request)| (late(call), request)).collect();
                for ask in before.asked.into_values() {
                    let (Ask::Add(n, handle) | Ask::Del(n, handle)) = ask;
                    self.ask(Ask::Del(n, handle));
                }
            }
        }
        for n in 0..2 {
            self.drain(n);
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.requests += 1;
        let id = RequestId(self.requests);
        let (n, want) = match ask {
            Ask::Add(n, handle) => {
                (n, Want::Auto { handle: handle.to_owned(), attributes: BTreeMap::new(), pools: Vec::new() })
            }
            Ask::Del(n, handle) => {
                self.given.remove(handle);
                (n, Want::Release { handle: handle.to_owned() })
            }
        };
        self.nodes[n].asked.insert(id, ask);
        self.nodes[n].allocator.request(self.now, WALL, id, want);
    }

    fn drain(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        while let Some((call, request)) = node.allocator.poll() {
            node.sent.insert(call, request);
        }
        while let Some((id, result)) = node.allocator.poll_done() {
            match node.asked.remove(&id).expect("a request is answered once") {
                Ask::Add(_, handle) => {
                    let assigned = result.unwrap_or_else(|error| panic!("{handle} gets no address: {error}"));
                    self.given.insert(handle, assigned[0].addr);
                }
                Ask::Del(_, handle) => assert!(result.is_ok(), "{handle} is not released: {result:?}"),
            }
        }
    }

    fn in_use(&self) -> Vec<(IpAddr, String)> {
        self.given.iter().map(|(handle, addr)| (*addr, (*handle).to_owned())).collect()
    }

    /// What must hold now, and at the end.
    fn hold(&self, is_end: bool) -> Result<(), String> {
        laws::hold(self.api.objects(), &self.in_use()).map_err(|(law, what)| format!("{law}: {what}"))?;
        let open = self.nodes.iter().flat_map(|node| node.asked.values()).count() + self.asks.len();
        if is_end && open > 0 {
            return Err(format!("nothing more happens, and {open} requests are open"));
        }
        let mut problems = laws::problems(self.api.objects(), &self.in_use());
        problems.retain(
            |problem| !matches!(problem, Problem::EmptyHandle { handle } if self.strays.contains(handle)),
        );
        if is_end && !problems.is_empty() { Err(format!("{problems:?}")) } else { Ok(()) }
    }

    /// What tells two states apart: not in which order writes of different objects came to the API.
    fn digest(&self) -> u64 {
        let mut names = BTreeMap::new();
        let mut unheard = vec![BTreeSet::new(); self.nodes.len()];
        for kind in WATCHED.into_iter().chain([Kind::IpamHandle]) {
            let (mut at, mut versions) = (Revision::default(), BTreeMap::<Key, usize>::new());
            while let Some((next, event)) = self.api.next(kind, at) {
                let key = match event {
                    Event::Put(object) => object.key(),
                    Event::Gone(key) => key,
                    other => panic!("{other:?} is no change"),
                };
                let version = versions.entry(key.clone()).and_modify(|n| *n += 1).or_insert(1);
                let name = format!("{key:?}#{version}");
                for (node, unheard) in self.nodes.iter().zip(&mut unheard) {
                    _ = (node.told < next && WATCHED.contains(&kind)).then(|| unheard.insert(name.clone()));
                }
                names.insert(next.0.to_string(), name);
                at = next;
            }
        }
        let mut nodes = self.nodes.clone();
        nodes.iter_mut().for_each(|node| node.told = Revision::default());
        let objects: Vec<&Object> = self.api.objects().collect();
        let rest = (&self.asks, &self.given, self.requests, self.crashes, &self.strays, self.now);
        let text = format!("{objects:?}{nodes:?}{unheard:?}{rest:?}");
        let mut hasher = DefaultHasher::new();
        // Versions and uids are numbers of the API's history, between quotation marks.
        for word in text.split('"') {
            let number = word.strip_prefix("uid-").unwrap_or(word);
            names.get(number).map_or(word, String::as_str).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// From here on calls are of a life before, and nobody waits for their answers.
const LATE: u64 = 1_000_000;

fn late(call: CallId) -> CallId {
    CallId(call.0 + LATE)
}

impl Node {
    fn start(name: &str, api: &FakeApi, hears: usize) -> Node {
        let mut allocator = Allocator::new(name);
        let told = api.revision();
        WATCHED.iter().for_each(|kind| allocator.observe(&api.list(*kind, told)));
        let (sent, answers, asked) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Node { name: name.to_owned(), allocator, told, hears, sent, answers, asked }
    }

    fn has_news(&self, api: &FakeApi) -> bool {
        WATCHED.iter().any(|kind| api.next(*kind, self.told).is_some())
    }

    fn hear(&mut self, api: &FakeApi) {
        for kind in WATCHED {
            let mut told = self.told;
            while let Some((at, event)) = api.next(kind, told) {
                self.allocator.observe(&event);
                told = at;
            }
        }
        self.told = api.revision();
    }
}

/// No order of events is longer.
const LONGEST: usize = 150;

/// Makes every move from every state, and asks the laws in each.
fn explore(asks: &[Ask], crashes: usize, hears: usize) {
    let mut seen = BTreeSet::new();
    let mut ends = 0;
    let mut open = vec![(World::new(asks, crashes, hears), Vec::<Move>::new())];
    while let Some((world, path)) = open.pop() {
        assert!(path.len() < LONGEST, "no rest after {path:#?}\n{world:#?}");
        let moves = world.moves();
        // A crash needs nobody's doing: without it the world would be at rest.
        let is_end = moves.iter().all(|next| matches!(next, Move::Crash(_)));
        ends += usize::from(is_end);
        if let Err(what) = world.hold(is_end) {
            panic!("{what}\nafter {path:#?}\n{world:#?}");
        }
        for next in moves {
            let mut world = world.clone();
            world.make(next);
            if seen.insert(world.digest()) {
                open.push((world, [&path[..], &[next]].concat()));
            }
        }
    }
    println!("{} states, {ends} ends", seen.len());
    assert!(seen.len() > 100 && ends > 1, "{} states and {ends} ends prove nothing", seen.len());
}

#[test]
fn two_nodes_share_one_block_in_every_order_of_events() {
    explore(&[Ask::Add(0, "a"), Ask::Add(1, "b"), Ask::Add(1, "c")], 0, 0);
    if at_length() {
        explore(&[Ask::Add(0, "a"), Ask::Add(1, "b")], 0, 1);
    }
}

#[test]
fn an_address_that_goes_and_one_that_comes_meet_in_every_order_of_events() {
    explore(&[Ask::Add(0, "a"), Ask::Add(1, "b"), Ask::Del(0, "a")], 0, 0);
}

#[test]
fn a_crash_at_any_point_of_any_order_of_events_leaks_nothing() {
    explore(&[Ask::Add(0, "a")], 1, 1);
    if at_length() {
        explore(&[Ask::Add(0, "a"), Ask::Add(1, "b")], 1, 0);
    }
}
