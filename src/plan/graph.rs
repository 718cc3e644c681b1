//! The DAG of stage instances, on petgraph.

use std::fmt::Write as _;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Bfs, Reversed};

use crate::manifest::Study;

/// The instances of a study and who refers to whom; an arrow runs from a stage to one that needs it.
pub struct Graph<'a> {
    study: &'a Study,
    graph: DiGraph<usize, ()>,
}

impl<'a> Graph<'a> {
    /// The graph of a study, whose instances are in topological order.
    pub fn new(study: &'a Study) -> Self {
        let mut graph = DiGraph::with_capacity(study.instances.len(), study.instances.len());
        for i in 0..study.instances.len() {
            graph.add_node(i);
        }
        for (i, instance) in study.instances.iter().enumerate() {
            for &upstream in instance.inputs.iter().flat_map(|edge| &edge.upstream) {
                graph.update_edge(NodeIndex::new(upstream), NodeIndex::new(i), ());
            }
        }
        Self { study, graph }
    }

    /// All instances.
    pub fn all(&self) -> Vec<usize> {
        (0..self.study.instances.len()).collect()
    }

    /// These instances and all that they need, in topological order.
    pub fn with_all_above(&self, instances: &[usize]) -> Vec<usize> {
        let mut wanted = vec![false; self.study.instances.len()];
        for &i in instances {
            let mut above = Bfs::new(Reversed(&self.graph), NodeIndex::new(i));
            while let Some(node) = above.next(Reversed(&self.graph)) {
                wanted[node.index()] = true;
            }
        }
        (0..wanted.len()).filter(|&i| wanted[i]).collect()
    }

    /// For each wanted instance, by place in `wanted`, the places of those directly above it.
    ///
    /// # Panics
    /// If something that a wanted instance needs is not wanted.
    pub fn above(&self, wanted: &[usize]) -> Vec<Vec<usize>> {
        let place = |i: usize| wanted.binary_search(&i).expect("invariant: what a wanted stage needs is wanted");
        let above = |&i: &usize| {
            let mut above: Vec<usize> = self
                .graph
                .neighbors_directed(NodeIndex::new(i), Direction::Incoming)
                .map(|node| place(node.index()))
                .collect();
            above.sort_unstable();
            above
        };
        wanted.iter().map(above).collect()
    }

    /// The graph in Graphviz' language.
    ///
    /// # Panics
    /// Never: an edge has two ends.
    pub fn dot(&self) -> String {
        // Writing to a string cannot fail.
        let mut dot = format!("digraph {:?} {{\n  rankdir = LR;\n  node [shape = box];\n", self.study.name);
        for (i, instance) in self.study.instances.iter().enumerate() {
            let label = format!("{}\n{}", instance.name, instance.kind.name());
            let _ = writeln!(dot, "  n{i} [label = {label:?}];");
        }
        for edge in self.graph.edge_indices() {
            let (from, to) = self.graph.edge_endpoints(edge).expect("invariant: an edge has two ends");
            let _ = writeln!(dot, "  n{} -> n{};", from.index(), to.index());
        }
        dot + "}\n"
    }

    /// The graph as text: every instance with its kind, and what it needs.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let width = self.study.instances.iter().map(|instance| instance.name.chars().count()).max().unwrap_or(0);
        for instance in &self.study.instances {
            let mut above: Vec<&str> = Vec::new();
            for &upstream in instance.inputs.iter().flat_map(|edge| &edge.upstream) {
                let name = self.study.instances[upstream].name.as_str();
                if !above.contains(&name) {
                    above.push(name);
                }
            }
            let arrow = if above.is_empty() { String::new() } else { format!("  ← {}", above.join(", ")) };
            let line = format!("{:width$}  {}{arrow}", instance.name, instance.kind.name());
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}
