//! A plan in words, and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::{Plan, Reason, Standing};

impl Plan<'_> {
    fn count(&self, which: fn(&Standing) -> bool) -> usize {
        self.stages.iter().filter(|(_, standing)| which(standing)).count()
    }

    /// Whether a run would do nothing.
    pub fn is_fresh(&self) -> bool {
        self.stages.iter().all(|(_, standing)| matches!(standing, Standing::Fresh { .. }))
    }

    /// The plan as JSON.
    pub fn json(&self) -> Value {
        let name = |i: usize| self.study.instances[i].name.clone();
        let stage = |(i, standing): &(usize, Standing)| {
            let (state, rest) = match standing {
                Standing::Fresh { key } => ("fresh", json!({ "key": key })),
                Standing::Stale { key, reasons, forecast, .. } => {
                    let words = Reason::in_words(reasons);
                    ("stale", json!({ "key": key, "reasons": reasons, "words": words, "forecast": forecast }))
                }
                Standing::Pending { because } => {
                    ("pending", json!({ "because": because.iter().map(|&i| name(i)).collect::<Vec<_>>() }))
                }
            };
            let mut stage = json!({ "stage": name(*i), "kind": self.study.instances[*i].kind.name(), "state": state });
            if let (Value::Object(stage), Value::Object(rest)) = (&mut stage, rest) {
                stage.extend(rest);
            }
            stage
        };
        let stages: Vec<Value> = self.stages.iter().map(stage).collect();
        json!({ "study": self.study.name, "profile": self.study.profile, "stages": stages })
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fresh = self.count(|standing| matches!(standing, Standing::Fresh { .. }));
        let stale = self.count(|standing| matches!(standing, Standing::Stale { .. }));
        let pending = self.count(|standing| matches!(standing, Standing::Pending { .. }));
        let (study, profile, all) = (&self.study.name, &self.study.profile, self.stages.len());
        writeln!(f, "{study} ({profile}): {all} stages, {fresh} fresh, {stale} stale, {pending} pending")?;
        let width = self.stages.iter().map(|(i, _)| self.study.instances[*i].name.chars().count()).max().unwrap_or(0);
        let indent = " ".repeat(width + 13);
        for (i, standing) in &self.stages {
            let name = &self.study.instances[*i].name;
            match standing {
                Standing::Fresh { .. } => writeln!(f, "  fresh    {name}")?,
                Standing::Stale { reasons, forecast, .. } => {
                    write!(f, "  stale    {name:width$}")?;
                    for (n, reason) in Reason::in_words(reasons).iter().enumerate() {
                        if n == 0 { write!(f, "  {reason}")? } else { write!(f, "\n{indent}{reason}")? }
                    }
                    writeln!(f)?;
                    let forecast = forecast.to_string();
                    if !forecast.is_empty() {
                        writeln!(f, "{indent}{forecast}")?;
                    }
                }
                Standing::Pending { because } => {
                    let above: Vec<&str> = because.iter().map(|&i| self.study.instances[i].name.as_str()).collect();
                    let more = if above.len() > 3 { format!(" and {} more", above.len() - 3) } else { String::new() };
                    let above = above[..above.len().min(3)].join(", ");
                    writeln!(f, "  pending  {name:width$}  may run: waits for {above}{more}")?;
                }
            }
        }
        Ok(())
    }
}
