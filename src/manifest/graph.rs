//! Which stage refers to which: references that lead nowhere or to the wrong kind, cycles, and an order in which every stage comes after
//! those it refers to. It knows stages as declared, not instances.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::diagnostic::{Diagnostic, listed};
use super::source::Origin;
use super::stage::Stage;

/// How many stages of a cycle are spelled out.
const SHOWN: usize = 12;

/// The stages in an order in which each comes after those it refers to, otherwise as declared. Those in a cycle, or below one, are left
/// out. `declared` names all stages, those that could not be read included.
pub(super) fn order(stages: &[Stage], declared: &[String], problems: &mut Vec<Diagnostic>) -> Vec<usize> {
    let mut graph = DiGraph::<usize, Origin>::new();
    let nodes: Vec<NodeIndex> = (0..stages.len()).map(|stage| graph.add_node(stage)).collect();
    let numbers: BTreeMap<&str, usize> =
        stages.iter().enumerate().map(|(number, stage)| (&*stage.name, number)).collect();
    for (from, stage) in stages.iter().enumerate() {
        let mut known = BTreeSet::new();
        for (mention, target) in stage.variants.iter().flat_map(|variant| &variant.mentions) {
            let Some(&to) = numbers.get(target.stage.as_str()) else {
                if !declared.contains(&target.stage) {
                    let message = format!("no stage `{}`", target.stage);
                    let diagnostic = Diagnostic::new(target.stage_origin, message, "referred to here");
                    let others = declared.iter().map(String::as_str).filter(|name| *name != stage.name);
                    problems.push(diagnostic.offer(&target.stage, "the stages are", others));
                }
                continue;
            };
            let kind = stages[to].kind.name();
            if !mention.accepts.is_empty() && !mention.accepts.contains(&kind) {
                let message =
                    format!("`{}` must name a stage of kind {}", mention.field, listed(&mention.accepts, "or"));
                let label = format!("`{}` is of kind `{kind}`", target.stage);
                let right = stages.iter().filter(|stage| mention.accepts.contains(&stage.kind.name()));
                let right: Vec<&str> = right.map(|stage| stage.name.as_str()).collect();
                let diagnostic = Diagnostic::new(target.stage_origin, message, label);
                problems.push(match right.as_slice() {
                    [] => diagnostic,
                    names => diagnostic.help(format!("of that kind: {}", listed(names, "and"))),
                });
            }
            if known.insert(to) {
                graph.add_edge(nodes[from], nodes[to], target.stage_origin);
            } else {
                graph.update_edge(nodes[from], nodes[to], target.stage_origin);
            }
        }
    }
    for component in tarjan_scc(&graph) {
        problems.extend(cycle(&graph, &component, stages));
    }
    sorted(&graph)
}

/// The shortest cycle through the first stage of a component, spelled out; nothing if it has none.
fn cycle(graph: &DiGraph<usize, Origin>, component: &[NodeIndex], stages: &[Stage]) -> Option<Diagnostic> {
    let start = *component.iter().min_by_key(|node| graph[**node])?;
    if component.len() == 1 && !graph.contains_edge(start, start) {
        return None;
    }
    let mut came: Vec<Option<(NodeIndex, Origin)>> = vec![None; graph.node_count()];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front().filter(|_| came[start.index()].is_none()) {
        let mut edges: Vec<_> = graph.edges(node).filter(|edge| component.contains(&edge.target())).collect();
        edges.sort_by_key(|edge| *edge.weight());
        for edge in edges {
            if came[edge.target().index()].is_none() {
                came[edge.target().index()] = Some((node, *edge.weight()));
                queue.push_back(edge.target());
            }
        }
    }
    let mut edges = Vec::new();
    let mut to = start;
    loop {
        let (from, origin) = came[to.index()]?;
        edges.push((from, to, origin));
        to = from;
        if to == start {
            break;
        }
    }
    edges.reverse();
    let name = |node: NodeIndex| stages[graph[node]].name.as_str();
    if let [(_, _, origin)] = edges.as_slice() {
        let message = format!("stage `{}` refers to itself", name(start));
        return Some(Diagnostic::new(*origin, message, format!("`{0}` → `{0}`", name(start))));
    }
    let mut path: Vec<String> = edges.iter().take(SHOWN).map(|(from, ..)| format!("`{}`", name(*from))).collect();
    if edges.len() > SHOWN {
        path.push(format!("{} more", edges.len() - SHOWN));
        edges.truncate(SHOWN);
    }
    let message = format!("stages in a cycle: {} → `{}`", path.join(" → "), name(start));
    let mut labels = edges.iter().map(|(from, to, origin)| (*origin, format!("`{}` → `{}`", name(*from), name(*to))));
    let (origin, label) = labels.next()?;
    Some(
        labels.fold(Diagnostic::new(origin, message, label), |diagnostic, (origin, label)| {
            diagnostic.also(origin, label)
        }),
    )
}

/// Of those whose upstream is placed, always the one declared first.
fn sorted(graph: &DiGraph<usize, Origin>) -> Vec<usize> {
    let mut waits_for: Vec<usize> = graph.node_indices().map(|node| graph.neighbors(node).count()).collect();
    let is_free = |node: &NodeIndex| waits_for[node.index()] == 0;
    let mut free: BinaryHeap<Reverse<NodeIndex>> = graph.node_indices().filter(is_free).map(Reverse).collect();
    let mut order = Vec::new();
    while let Some(Reverse(node)) = free.pop() {
        order.push(graph[node]);
        for below in graph.neighbors_directed(node, Direction::Incoming) {
            waits_for[below.index()] -= 1;
            if waits_for[below.index()] == 0 {
                free.push(Reverse(below));
            }
        }
    }
    order
}
