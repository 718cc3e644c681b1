//! `spectrum`: the eigenvalues of a matrix of the loss at each point: the top of it, its density, sums and a log-determinant, from Lanczos
//! runs, one action a point and start vector, so that more starts add; or, for small models, from the whole matrix in f64.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::curved::{CurvedParams, SEED, in_double, too_few, with_matrix};
use super::evaluate::{self, Evaluate};
use super::foresee::Foreseen;
use super::index::{self, Chosen, Point, Points, States};
use super::setting::Computing;
use super::spectrum_tables::{Asked, Tables};
use super::train::json;
use super::{setting, tables};
use crate::execute::{Action, ActionContext, ActionKind, Failure, Place, Produced, StageContext, Work};
use crate::key::{Horizon, Identity, Outputs, Record, Walk};
use crate::manifest::{Forecast, Foresight, Kind, Params, Reader};
use crate::ml::curvature::dense::dense;
use crate::ml::curvature::lanczos::{Closed, Krylov, Ritz, Which};
use crate::ml::curvature::operator::SymmetricOperator;
use crate::ml::curvature::quadrature::Quadrature;
use crate::ml::curvature::trace::{Distribution, Probes};
use crate::ml::rng::Stream;

/// Steps of a Lanczos run, where the manifest does not say: the sum of the negative eigenvalues needs so many.
const STEPS: u64 = 40;

/// The kind.
pub struct Spectrum;

/// Its parameters.
#[derive(Clone, Debug)]
pub struct SpectrumParams {
    chosen: Chosen,
    curved: CurvedParams,
    starts: Horizon<u64>,
    steps: Identity<u64>,
    exact: Identity<bool>,
    which: Identity<Which>,
    top: Horizon<u64>,
    tau: Identity<f64>,
    grid: Horizon<u64>,
    width: Identity<f64>,
    computing: Computing,
}

impl Kind for Spectrum {
    fn name(&self) -> &'static str {
        "spectrum"
    }

    fn version(&self) -> u32 {
        3
    }

    fn about(&self) -> &'static str {
        "Finds the largest eigenvalues, the density of all and sums over them, at points, by Lanczos or exactly."
    }

    fn read(&self, reader: &mut Reader<'_>) -> Arc<dyn Params> {
        reader.reference("from", "the points", &index::POINTS);
        let chosen = Chosen::read(reader);
        let starts = "how many start vectors of signs a point; density, sums and determinant are means over them";
        let steps = "products of a Lanczos run: more resolve the spectrum better";
        let exact =
            "all eigenvalues of the whole matrix, in f64 whatever the training is in; for at most 10,000 parameters";
        let whiches = [("largest", Which::Largest), ("both", Which::Both), ("magnitude", Which::Magnitude)];
        let which = "which eigenvalues are the top: the largest, so many from either end, or the largest in magnitude";
        let tau = "τ of log det(I + A₊/τ): eigenvalues well below it do not count";
        let width =
            "standard deviation to which the density broadens an eigenvalue, as a share of the spectrum's range";
        Arc::new(SpectrumParams {
            chosen,
            curved: CurvedParams::read(reader, "of the start vectors"),
            starts: reader.count("starts", starts).default(10).at_least(2).at_most(u32::MAX).horizon(),
            steps: reader.count("steps", steps).default(STEPS).at_least(2).identity(),
            exact: reader.flag("exact", exact).default(false).identity(),
            which: reader.choice("which", which, &whiches).default(Which::Largest).identity(),
            top: reader.count("top", "how many eigenvalues are the top").default(10).at_least(1).horizon(),
            tau: reader.float("tau", tau).default(0.1).positive().identity(),
            grid: reader.count("grid", "places at which the density is taken").default(400).at_least(2).horizon(),
            width: reader.float("width", width).default(0.01).positive().identity(),
            computing: Computing::read(reader),
        })
    }

    fn uses(&self, _: &str) -> &'static [&'static str] {
        &["states", "minima"]
    }

    fn forecast(&self, params: &dyn Params, foresight: &Foresight<'_>) -> Forecast {
        let params: &SpectrumParams = params.of();
        let Some(points) = index::foreseen_points(foresight, "from") else { return Forecast::unknown() };
        let points = points.computed(&params.computing, foresight.backend);
        let mut foreseen = Foreseen::new(foresight, &[params.kind(), &Evaluate]);
        for point in params.chosen(&points) {
            params.actions(&points.states, point).iter().for_each(|action| drop(foreseen.call(action)));
            evaluate::foresee_loss(&points.states, point, &mut foreseen);
        }
        foreseen.forecast()
    }
}

impl Params for SpectrumParams {
    fn walk(&self, walk: &mut dyn Walk) {
        self.chosen.walk(walk);
        self.curved.walk(walk);
        walk.horizon("starts", &self.starts)
            .identity("steps", &self.steps)
            .identity("exact", &self.exact)
            .identity("which", &self.which)
            .horizon("top", &self.top)
            .identity("tau", &self.tau)
            .horizon("grid", &self.grid)
            .identity("width", &self.width);
        self.computing.walk(walk);
    }
}

impl SpectrumParams {
    fn chosen<'p>(&self, points: &'p Points) -> Vec<&'p Point> {
        self.chosen.of(points)
    }

    fn kind(&self) -> &'static dyn ActionKind {
        if *self.exact { &Eigenvalues } else { &Lanczos }
    }

    /// What is to be known of a point: a run from each start, or all eigenvalues at once.
    fn actions(&self, states: &States, point: &Point) -> Vec<Action> {
        if *self.exact {
            return vec![self.curved.action(&in_double(&states.setting), &Eigenvalues, &point.theta)];
        }
        let run = self.curved.drawing(&states.setting, &Lanczos, &point.theta).with("steps", &self.steps);
        (0..*self.starts).map(|start| run.clone().position("start", start)).collect()
    }

    /// What each start vector says; of all eigenvalues, the one thing that they say.
    fn quadratures(&self, cx: &StageContext<'_>, records: &[Record]) -> Result<Vec<Quadrature>, Failure> {
        if !*self.exact {
            return records.iter().map(|record| tables::json(cx, record, "ritz")).collect();
        }
        let values: Vec<f64> = tables::json(cx, &records[0], "eigenvalues")?;
        let weight = 1.0 / values.len() as f64;
        let ritz: Vec<Ritz> = values.iter().map(|&value| Ritz { value, weight, residual: 0.0 }).collect();
        Ok(vec![Quadrature { n: values.len(), before: ritz.clone(), ritz }])
    }
}

impl Work for SpectrumParams {
    fn run(&self, cx: &StageContext<'_>) -> Result<Outputs, Failure> {
        let points = index::points(cx, "from")?.computed(&self.computing, cx.backend());
        let chosen = self.chosen(&points);
        let groups: Vec<Vec<Action>> = chosen.iter().map(|point| self.actions(&points.states, point)).collect();
        let unit = if *self.exact { "points" } else { "Lanczos runs" };
        cx.expect(groups.iter().map(Vec::len).sum::<usize>() as u64, unit);
        if !*self.exact
            && let Some(warning) = too_few(*self.starts, "start vectors")
        {
            cx.warn(warning);
        }
        let asked = Asked {
            which: *self.which,
            top: *self.top as usize,
            tau: *self.tau,
            grid: *self.grid as usize,
            width: *self.width,
            exact: *self.exact,
            steepest: points.states.steepest()?,
        };
        let mut made = Tables::new(asked);
        for (point, records) in chosen.iter().zip(cx.map_groups(&groups)?) {
            let quadratures = self.quadratures(cx, &records)?;
            let loss = evaluate::loss_at(cx, &points.states, point)?;
            made.add(points.states.epoch_of(point.iteration), (point, loss), &quadratures)?;
        }
        if made.unresolved() > 0 {
            let (unresolved, all) = (made.unresolved(), chosen.len());
            cx.warn(format!("at {unresolved} of {all} points the last quarter of the steps changed a sum by more than two standard errors: `steps` resolves the spectrum too little"));
        }
        let mut outputs = Outputs::new();
        for (name, table) in made.all() {
            outputs.insert(name.to_owned(), tables::keep(cx, &table)?);
        }
        Ok(outputs)
    }

    fn places(&self, instance: &str) -> Vec<(String, Place)> {
        let mut places = tables::place(instance);
        for name in ["top", "density"] {
            places.push((name.to_owned(), Place::Result(tables::file(instance, &format!("{name}.csv")))));
        }
        places
    }
}

/// The action: a Lanczos run at a point, from a start vector of signs addressed by seed and index; ends where the space closes.
pub struct Lanczos;

impl ActionKind for Lanczos {
    fn name(&self) -> &'static str {
        "lanczos"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let stream = Stream::new(cx.param("seed", SEED)?, "lanczos");
        let starts = Probes { stream, distribution: Distribution::Rademacher };
        let (steps, index) = (cx.param("steps", STEPS)? as usize, cx.required::<u64>("start")? as u32);
        let quadrature = with_matrix(cx, |matrix| {
            let start = starts.probe(index, matrix.len(), matrix.placement())?;
            let krylov = Krylov::build(matrix, &start, steps, Closed::End)?;
            Quadrature::of(matrix.len(), &krylov)
        })?;
        Ok(BTreeMap::from([("ritz".to_owned(), json(&quadrature))]))
    }
}

/// The action: all eigenvalues at a point, of the whole matrix in f64.
pub struct Eigenvalues;

impl ActionKind for Eigenvalues {
    fn name(&self) -> &'static str {
        "eigenvalues"
    }

    fn version(&self) -> u32 {
        setting::VERSION
    }

    fn run(&self, cx: &ActionContext<'_>) -> Result<Produced, Failure> {
        let values = with_matrix(cx, |matrix| dense(matrix)?.eigenvalues(matrix.stop))?;
        Ok(BTreeMap::from([("eigenvalues".to_owned(), json(&values))]))
    }
}
