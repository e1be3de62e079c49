//! The embedded API server: acknowledged writes per second, beside what the disk can sync; and how long after a write is
//! asked for its watchers hear of it, beside its own answer.

use crate::table::{Bound, Row, median};
use anyhow::{Context, ensure};
use datastore::{Client, Patch, Resource, Scope};
use futures::StreamExt;
use model::store::{Event, Kind};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long each rate is measured.
const SPAN: Duration = Duration::from_secs(5);
/// Writes whose way to the watchers is measured.
const WRITES: usize = 200;

/// A server as a process of its own, on the disk of the directory for temporary files.
struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    fn start() -> anyhow::Result<Server> {
        let dir = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(lab_tests::program())
            .args(["apiserver", &format!("--listen=127.0.0.1:{port}")])
            .arg(format!("--data={}", dir.path().join("data").display()))
            .arg(format!("--kubeconfig={}", dir.path().join("kubeconfig").display()))
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the API server")?;
        let server = Server { child, dir };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !server.kubeconfig().exists() {
            ensure!(Instant::now() < deadline, "the API server does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn kubeconfig(&self) -> std::path::PathBuf {
        self.dir.path().join("kubeconfig")
    }

    async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::from_kubeconfig(&self.kubeconfig()).await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

pub fn run() -> anyhow::Result<Vec<Row>> {
    let server = Server::start()?;
    let syncs = syncs_per_second(server.dir.path())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut rows = Vec::new();
        for (clients, what, aim) in
            [(1, "store, writes of 1 client", 0.3), (16, "store, writes of 16 clients", 1.0)]
        {
            rows.push(Row {
                what: what.to_owned(),
                unit: "1/s",
                ours: writes_per_second(&server, clients).await?,
                peer: Some(("fdatasync of the same disk", syncs)),
                bound: Bound::AtLeast(aim),
            });
        }
        for (watchers, what) in [
            (1, "store, heard by 1 watcher"),
            (10, "store, heard by 10 watchers"),
            (100, "store, heard by 100 watchers"),
        ] {
            let (heard, answered) = heard_after(&server, watchers).await?;
            rows.push(Row {
                what: what.to_owned(),
                unit: "ms",
                ours: heard,
                peer: Some(("the write's own answer", answered)),
                bound: Bound::AtMost(if watchers < 100 { 2.0 } else { 10.0 }),
            });
        }
        Ok(rows)
    })
}

/// Small appends, each synced: the floor of every durable write.
fn syncs_per_second(dir: &Path) -> anyhow::Result<f64> {
    let mut file = File::create(dir.join("syncs"))?;
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < SPAN {
        file.write_all(&[0; 512])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

fn reservations() -> &'static Resource {
    Resource::of_kind("IPReservation").expect("a kind of ours")
}

/// Each client changes its own object over and over.
async fn writes_per_second(server: &Server, clients: usize) -> anyhow::Result<f64> {
    let mut tasks = Vec::new();
    for n in 0..clients {
        let (client, name) = (server.client().await?, format!("rate-{clients}-{n}"));
        create(&client, &name).await?;
        tasks.push(tokio::spawn(async move {
            let (began, mut count) = (Instant::now(), 0_u32);
            while began.elapsed() < SPAN {
                change(&client, &name, count as usize).await?;
                count += 1;
            }
            anyhow::Ok(f64::from(count) / began.elapsed().as_secs_f64())
        }));
    }
    let mut rate = 0.0;
    for task in tasks {
        rate += task.await??;
    }
    Ok(rate)
}

/// Milliseconds from a write's request to its event at the last of the watchers, and to its answer: the middle ones.
async fn heard_after(server: &Server, watchers: usize) -> anyhow::Result<(f64, f64)> {
    let name = format!("heard-{watchers}");
    let client = server.client().await?;
    create(&client, &name).await?;
    let (say, mut heard) = mpsc::channel(watchers * 2);
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut events = Box::pin(server.client().await?.watch(Kind::IpReservation, Scope::All));
        let (say, name) = (say.clone(), name.clone());
        tasks.push(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let told = match event {
                    Event::Listed(..) => true,
                    Event::Put(object) => object.key().name == name,
                    Event::Gone(_) | Event::Failed { .. } => false,
                };
                if told && say.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        }));
    }
    // The list of each comes first.
    for _ in 0..watchers {
        heard.recv().await.context("a watcher ended")?;
    }
    let (mut late, mut answers) = (Vec::new(), Vec::new());
    for n in 0..WRITES {
        let began = Instant::now();
        change(&client, &name, n).await?;
        answers.push(began.elapsed().as_secs_f64() * 1000.0);
        let mut last = began;
        for _ in 0..watchers {
            last = last.max(heard.recv().await.context("a watcher ended")?);
        }
        late.push((last - began).as_secs_f64() * 1000.0);
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok((median(late), median(answers)))
}

async fn create(client: &Client, name: &str) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "IPReservation",
        "metadata": {"name": name}, "spec": {"reservedCIDRs": ["192.0.2.0/24"]},
    });
    client
        .create_json(reservations(), None, &object)
        .await
        .with_context(|| format!("cannot create {name}"))
        .map(drop)
}

/// Another value than any before: what changes nothing has no event.
async fn change(client: &Client, name: &str, n: usize) -> anyhow::Result<()> {
    let patch = json!({"spec": {"reservedCIDRs": [format!("10.{}.{}.0/24", n / 256 % 256, n % 256)]}});
    let changed = client.patch_json(reservations(), None, name, None, Patch::Merge, &patch).await;
    changed.with_context(|| format!("cannot change {name}")).map(drop)
}
