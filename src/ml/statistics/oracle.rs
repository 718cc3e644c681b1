//! The statistics against `mpmath`, `scipy` and `numpy` (numbers from `tests/oracle/ml_statistics.py`).

use serde_json::Value;

use super::{
    Alternative, LinearFit, binomial_interval, incomplete_beta, linear_fit, one_sample, paired, spearman,
    student_t_cdf, weighted_linear_fit,
};

fn oracle(name: &str) -> Value {
    let whole: Value = serde_json::from_str(include_str!("../../../tests/oracle/ml_statistics.json")).unwrap();
    whole[name].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn rows(name: &str) -> Vec<Vec<f64>> {
    oracle(name).as_array().unwrap().iter().map(numbers).collect()
}

/// Within a relative error, or both so small that nothing is left of either.
fn close(found: f64, expected: f64, relative: f64) -> bool {
    (found - expected).abs() <= relative * expected.abs() + 1e-300
}

#[test]
fn the_incomplete_beta_function_has_the_right_digits() {
    for row in rows("beta") {
        let [a, b, x, expected] = row[..] else { panic!("{row:?}") };
        assert!(close(incomplete_beta(a, b, x), expected, 1e-11), "{row:?}: {}", incomplete_beta(a, b, x));
    }
}

#[test]
fn students_distribution_has_the_right_digits_into_its_tails() {
    for row in rows("student") {
        let [t, df, expected] = row[..] else { panic!("{row:?}") };
        assert!(close(student_t_cdf(t, df), expected, 1e-10), "{row:?}: {}", student_t_cdf(t, df));
    }
}

#[test]
fn both_sides_of_the_tests_are_those_of_scipy() {
    for case in oracle("one_sample").as_array().unwrap() {
        let (values, stated) = (numbers(&case["values"]), case["stated"].as_f64().unwrap());
        for (side, name) in [(Alternative::Less, "less"), (Alternative::Greater, "greater")] {
            let test = one_sample(&values, stated, side).unwrap();
            assert!(close(test.t, case["t"].as_f64().unwrap(), 1e-9), "{case:#}: {test:?}");
            assert!(close(test.p, case[name].as_f64().unwrap(), 1e-9), "{case:#}: {test:?}");
        }
    }
    for case in oracle("paired").as_array().unwrap() {
        let test = paired(&numbers(&case["a"]), &numbers(&case["b"]), Alternative::Less).unwrap();
        assert!(close(test.p, case["less"].as_f64().unwrap(), 1e-9), "{case:#}: {test:?}");
    }
}

#[test]
fn rank_correlations_with_ties_are_those_of_scipy() {
    for case in oracle("spearman").as_array().unwrap() {
        let rho = spearman(&numbers(&case["x"]), &numbers(&case["y"])).unwrap();
        assert!(close(rho, case["rho"].as_f64().unwrap(), 1e-14), "{case:#}: {rho}");
    }
}

#[test]
fn lines_and_their_errors_are_those_of_the_normal_equations() {
    let case = oracle("fit");
    let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
    let check = |fit: LinearFit, expected: &Value| {
        for (found, name) in [
            (fit.slope, "slope"),
            (fit.intercept, "intercept"),
            (fit.slope_stderr, "slope_stderr"),
            (fit.intercept_stderr, "intercept_stderr"),
            (fit.slope_stderr_known, "slope_stderr_known"),
            (fit.r_squared, "r_squared"),
        ] {
            assert!(close(found, expected[name].as_f64().unwrap(), 1e-10), "{name}: {found}, {expected:#}");
        }
    };
    check(linear_fit(&x, &y).unwrap(), &case["ordinary"]);
    check(weighted_linear_fit(&x, &y, &numbers(&case["weights"])).unwrap(), &case["weighted"]);
}

#[test]
fn exact_binomial_intervals_are_those_of_scipy() {
    for row in rows("binomial") {
        let [k, n, level, low, high] = row[..] else { panic!("{row:?}") };
        let interval = binomial_interval(k as u64, n as u64, level).unwrap();
        assert!(close(interval.low, low, 1e-9) && close(interval.high, high, 1e-9), "{row:?}: {interval:?}");
    }
}
