//! The tasks around the collector: watches in, calls out, its account to the log and to whoever asks for metrics.

use crate::{Args, account, lead, metrics, questions};
use agent::http;
use datastore::{Client, Scope};
use failpoint::failpoint;
use futures::StreamExt;
use ipam::CallId;
use ipam::check::Problem;
use ipam::collect::{Account, Collector, Patience, WATCHED};
use jiff::Timestamp;
use model::Instant;
#[cfg(debug_assertions)]
use model::store::Object;
use model::store::{Event, Kind, Reply, Request};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Of each problem's sort, the log names so many.
const MOST_SAID: usize = 20;

/// What the collector hears.
enum Message {
    Told(Event),
    Answered(CallId, Reply),
}

pub(crate) async fn run(args: Args, patience: Patience) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        ended = serve(args, patience) => ended,
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    }
}

async fn serve(args: Args, patience: Patience) -> anyhow::Result<()> {
    let client = match &args.kubeconfig {
        Some(path) => Client::from_kubeconfig(path).await?,
        None => Client::infer().await?,
    };
    tracing::info!(api = client.url(), version = env!("CARGO_PKG_VERSION"), "starting");
    let (sender, mut inbox) = mpsc::channel(256);
    for kind in WATCHED {
        tokio::spawn(listen(client.clone(), kind, sender.clone()));
    }
    let (leads_sender, mut leads) = watch::channel(false);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let me = format!("{}_{}", host.trim(), std::process::id());
    let question_patience = std::time::Duration::from_micros(args.question_grace_period.micros());
    let (told, telling) = watch::channel("{}".to_owned());
    tokio::spawn(lead::lead(client.clone(), args.namespace, me, leads_sender, telling));
    tokio::spawn(describe_cluster(client.clone(), leads.clone()));
    tokio::spawn(questions::collect(client.clone(), question_patience, leads.clone()));
    let (said, account) = watch::channel(String::new());
    tokio::spawn(serve_account(args.metrics, account));

    let begin = tokio::time::Instant::now();
    let now = || Instant::from_micros(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
    let mut collector = Collector::new(patience);
    let mut chronicle = Chronicle::default();
    loop {
        if *leads.borrow_and_update() {
            collector.wake(now(), &Timestamp::now().to_string());
            while let Some((id, request)) = collector.poll() {
                tokio::spawn(ask(client.clone(), id, request, sender.clone()));
            }
            chronicle.note(collector.account());
        } else {
            collector.stand_down();
        }
        told.send_replace(account::json(collector.account(), now(), Timestamp::now()).to_string());
        said.send_replace(metrics::text(collector.account(), *leads.borrow()));
        let due = collector.poll_timeout().map(|at| begin + std::time::Duration::from_micros(at.micros()));
        // As long as another leads, or a call is on its way, a message or the lease says when to go on.
        let due = due
            .filter(|_| *leads.borrow())
            .unwrap_or_else(|| tokio::time::Instant::now() + std::time::Duration::from_secs(3600));
        tokio::select! {
            message = inbox.recv() => match message.expect("a sender is kept here") {
                Message::Told(event) => {
                    collector.observe(&event);
                    // What has come in the meantime is taken in at once.
                    while let Ok(message) = inbox.try_recv() {
                        take(&mut collector, message, now());
                    }
                }
                answered @ Message::Answered(..) => take(&mut collector, answered, now()),
            },
            changed = leads.changed() => changed?,
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

async fn ask(client: Client, id: CallId, request: Request, answers: mpsc::Sender<Message>) {
    failpoint!("collector: to ask");
    #[cfg(debug_assertions)]
    let written = written(&request);
    let reply = client.request(request).await;
    #[cfg(debug_assertions)]
    written();
    // Without a collector there is nobody to tell.
    let _ = answers.send(Message::Answered(id, reply)).await;
}

/// The place after a request, by what it wrote.
#[cfg(debug_assertions)]
fn written(request: &Request) -> fn() {
    match request {
        Request::Update(Object::IpamBlock(_)) => || {
            failpoint!("collector: block written");
        },
        Request::Delete { key, .. } if key.kind == Kind::IpamBlock => || {
            failpoint!("collector: block removed");
        },
        Request::Delete { key, .. } if key.kind == Kind::IpamHandle => || {
            failpoint!("collector: handle removed");
        },
        Request::Delete { key, .. } if key.kind == Kind::BlockAffinity => || {
            failpoint!("collector: claim removed");
        },
        _ => || (),
    }
}

/// Makes the ClusterInformation where there is none, as soon as this one leads.
async fn describe_cluster(client: Client, mut leads: watch::Receiver<bool>) {
    let mut problem: Option<String> = None;
    loop {
        // Its sender lives as long as the process.
        let _ = leads.wait_for(|leads| *leads).await;
        match client.ensure_cluster_information().await {
            Ok(_) => {
                failpoint!("cluster: described");
                return;
            }
            Err(error) => {
                let error = Some(error.to_string());
                if let (Some(why), true) = (&error, error != problem) {
                    tracing::warn!("cannot make ClusterInformation(default): {why}");
                }
                problem = error;
            }
        }
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    }
}

async fn serve_account(addr: SocketAddr, account: watch::Receiver<String>) {
    let answer = move |path: String| {
        let text = match path.as_str() {
            "/metrics" => Some(account.borrow().clone()),
            "/liveness" | "/readiness" => Some("ok\n".to_owned()),
            _ => None,
        };
        async { text.map(|text| (http::OK, text)) }
    };
    http::serve(addr, "--metrics", answer).await;
}

fn take(collector: &mut Collector, message: Message, now: Instant) {
    match message {
        Message::Told(event) => collector.observe(&event),
        Message::Answered(call, reply) => collector.handle(now, call, reply),
    }
}

async fn listen(client: Client, kind: Kind, inbox: mpsc::Sender<Message>) {
    let mut events = pin!(client.watch(kind, Scope::All));
    let mut fails = false;
    while let Some(event) = events.next().await {
        match &event {
            Event::Failed { error, .. } if !std::mem::replace(&mut fails, true) => {
                tracing::warn!("the watch of {kind:?} fails: {error}; what is known stays in force");
            }
            Event::Failed { .. } => {}
            _ => fails = false,
        }
        if inbox.send(Message::Told(event)).await.is_err() {
            return;
        }
    }
}

/// Says in the log what changes.
#[derive(Default)]
struct Chronicle {
    problems: BTreeSet<Problem>,
    released: u64,
    removed: u64,
}

impl Chronicle {
    fn note(&mut self, account: &Account) {
        let now: BTreeSet<Problem> = account.problems.iter().cloned().collect();
        let new: Vec<&Problem> = now.difference(&self.problems).collect();
        for problem in new.iter().take(MOST_SAID) {
            tracing::info!("found: {problem}");
        }
        if new.len() > MOST_SAID {
            tracing::info!(
                "found: {} more; `calicoctl ipam check --show-problem-ips` names them",
                new.len() - MOST_SAID
            );
        }
        self.problems = now;
        let (released, removed) = (account.released - self.released, account.removed - self.removed);
        if released + removed > 0 {
            tracing::info!("gave back {released} addresses, removed {removed} handles, claims and blocks");
        }
        (self.released, self.removed) = (account.released, account.removed);
    }
}
