//! The change of a pool's mode: one compare-and-swap of the pool, then a look at the nodes until all have followed.

use super::plan::Plan;
use super::{Cluster, modes_of, set_modes};
use crate::failure::Failure;
use crate::kind::Kind;
use crate::output::table;
use crate::session::Session;
use crate::store::{Store, Write};
use derive::{Modes, Progress};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The pool's annotation that holds the modes of before, for `--abort`.
const BEFORE: &str = "tortie/mode-before";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// More nodes are not redrawn in place: they would not fit on a screen.
const SCREEN: usize = 20;

/// Changes the pool as planned and watches the nodes follow.
pub async fn run(session: &mut Session<'_>, store: &Store, plan: &Plan) -> Result<(), Failure> {
    let mut pool = plan.document.clone();
    if plan.now != plan.then {
        if pool["metadata"]["annotations"].is_null() {
            pool["metadata"]["annotations"] = json!({});
        }
        pool["metadata"]["annotations"][BEFORE] = json!(plan.now).to_string().into();
        write(store, &pool).await?;
    }
    session.print(&format!("IPPool {}: {} -> {}\n{}", plan.pool, plan.now, plan.then, plan.waits_text()))?;
    follow(session, store, &plan.pool, plan.then).await
}

/// Sets the pool's modes back to what they were before the last change, and watches the nodes follow. Nothing is asked
/// beforehand: the way back must always be open.
pub async fn abort(session: &mut Session<'_>, store: &Store, name: &str) -> Result<(), Failure> {
    let kind = Kind::of_document("IPPool").expect("the kind is in the table");
    let mut pool = store.get(kind, None, name).await?;
    let now = modes_of(&pool);
    let annotations = pool["metadata"]["annotations"].as_object_mut();
    let said = annotations.and_then(|all| all.remove(BEFORE));
    let before = said.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
    let Some(before): Option<Modes> = before else {
        return Err(Failure::new(format!(
            "IPPool {name} does not say what its modes were before: it was not changed by `mode apply`, or set back already; use `mode apply {name} --to …`"
        )));
    };
    set_modes(&mut pool, before);
    write(store, &pool).await?;
    session.print(&format!("IPPool {name}: {now} -> {before}\n"))?;
    follow(session, store, name, before).await
}

async fn write(store: &Store, pool: &Value) -> Result<(), Failure> {
    let kind = Kind::of_document("IPPool").expect("the kind is in the table");
    store.write(kind, None, pool, Write::Patch).await?;
    Ok(())
}

/// Says how far each node is until all have retired what nobody wants.
async fn follow(session: &mut Session<'_>, store: &Store, pool: &str, modes: Modes) -> Result<(), Failure> {
    let mut screen = Screen { is_redrawn: session.io.is_terminal, shown: BTreeMap::new() };
    // One future for the whole time: a signal between two looks must not be missed.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let progress = look(store, pool).await?;
        let is_done = progress.values().all(|progress| *progress == Progress::Retired);
        session.draw(&screen.draw(progress))?;
        if is_done {
            return session.print(&format!("Every node has changed to {modes}.\n"));
        }
        tokio::select! {
            _ = &mut interrupted => return Err(Failure::new(format!(
                "The change goes on without this command: `mode apply {pool} --to …` with the same mode shows it again, `mode apply {pool} --abort` takes it back."
            ))),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn look(store: &Store, pool: &str) -> Result<BTreeMap<String, Progress>, Failure> {
    let cluster = Cluster::read(store).await?;
    let of = |node: &String| (node.clone(), node::seen_from(node, &cluster.objects).progress(pool));
    Ok(cluster.nodes.iter().map(of).collect())
}

/// What was shown last.
struct Screen {
    is_redrawn: bool,
    shown: BTreeMap<String, Progress>,
}

impl Screen {
    /// The text that brings the screen up to date: the table in place, or a line for each node that moved.
    fn draw(&mut self, progress: BTreeMap<String, Progress>) -> String {
        if progress == self.shown {
            return String::new();
        }
        let before = std::mem::replace(&mut self.shown, progress);
        let in_place = self.is_redrawn && self.shown.len() <= SCREEN;
        let is_new =
            |(node, progress): &(&String, &Progress)| in_place || before.get(*node) != Some(progress);
        let moved = self.shown.iter().filter(is_new);
        let lines: Vec<Vec<String>> =
            moved.map(|(node, progress)| vec![node.clone(), progress.to_string()]).collect();
        let up = if in_place && !before.is_empty() {
            format!("\x1b[{}A\x1b[J", before.len())
        } else {
            String::new()
        };
        let text: String =
            table::render(&lines).lines().map(|line| format!("{}\n", line.trim_end())).collect();
        up + &text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Progress::{Ready, Retired, Waiting};

    fn progress(of: [(&str, Progress); 2]) -> BTreeMap<String, Progress> {
        of.map(|(node, progress)| (node.to_owned(), progress)).into()
    }

    #[test]
    fn off_a_terminal_a_node_that_moves_has_a_line() {
        let mut screen = Screen { is_redrawn: false, shown: BTreeMap::new() };
        assert_eq!(
            screen.draw(progress([("n1", Waiting), ("node2", Waiting)])),
            "n1      waiting\nnode2   waiting\n"
        );
        assert_eq!(screen.draw(progress([("n1", Waiting), ("node2", Waiting)])), "");
        assert_eq!(screen.draw(progress([("n1", Waiting), ("node2", Ready)])), "node2   ready\n");
    }

    #[test]
    fn on_a_terminal_the_table_is_drawn_anew_in_its_place() {
        let mut screen = Screen { is_redrawn: true, shown: BTreeMap::new() };
        assert_eq!(screen.draw(progress([("n1", Ready), ("n2", Retired)])), "n1   ready\nn2   retired\n");
        let text = screen.draw(progress([("n1", Retired), ("n2", Retired)]));
        assert_eq!(text, "\x1b[2A\x1b[Jn1   retired\nn2   retired\n");
    }
}
