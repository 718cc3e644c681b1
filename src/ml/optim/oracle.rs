//! The optimizer and its schedules against `torch.optim` (numbers from `tests/oracle/optim.py`).

use crate::ml::tensor::{Device, Tensor};
use serde_json::Value;

use super::{Position, Schedule, Sgd};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn schedule(name: &str) -> Schedule {
    let step = Schedule::Step { every: 1, factor: 0.5 };
    match name {
        "constant" => Schedule::Constant,
        "step" => step,
        "cosine" => Schedule::Cosine { total: 5 },
        "warmup-step" => Schedule::Warmup { epochs: 2, then: Box::new(step) },
        _ => panic!("no schedule `{name}`"),
    }
}

#[test]
fn every_step_of_every_setting_is_that_of_torch() {
    let oracle: Value = serde_json::from_str(include_str!("../../../tests/oracle/optim.json")).unwrap();
    let a: Vec<Vec<f64>> = oracle["a"].as_array().unwrap().iter().map(numbers).collect();
    let b = numbers(&oracle["b"]);
    let iterations_per_epoch = oracle["per_epoch"].as_u64().unwrap() as usize;
    let cases = oracle["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let number = |name: &str| case[name].as_f64().unwrap();
        let sgd = Sgd {
            momentum: number("momentum"),
            dampening: number("dampening"),
            weight_decay: number("weight_decay"),
            nesterov: case["nesterov"].as_bool().unwrap(),
        };
        let schedule = schedule(case["schedule"].as_str().unwrap());
        let mut theta = Tensor::new(numbers(&oracle["start"]), &Device::Cpu).unwrap();
        let mut buffer = None;
        let path = case["path"].as_array().unwrap().iter().map(numbers);
        for (k, (expected, rate)) in path.zip(numbers(&case["rates"])).enumerate() {
            let values = theta.to_vec1::<f64>().unwrap();
            let gradient: Vec<f64> =
                a.iter().zip(&b).map(|(row, b)| row.iter().zip(&values).map(|(a, x)| a * x).sum::<f64>() - b).collect();
            let (epoch, iteration) = ((k / iterations_per_epoch) as u32, k % iterations_per_epoch);
            let lr = number("lr") * schedule.factor(Position { epoch, iteration, iterations_per_epoch });
            assert!((lr - rate).abs() < 1e-14, "{case:#} at {k}: {lr} for {rate}");
            let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
            (theta, buffer) = sgd.step(lr, &theta, &gradient, buffer.as_ref()).unwrap();
            for (found, expected) in theta.to_vec1::<f64>().unwrap().into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{case:#} at {k}: {found} for {expected}");
            }
        }
    }
}
