//! thalweg runs loss-landscape studies declared in TOML, incremental to the action.
//!
//! ```text
//! manifest ──▶ plan ──▶ schedule ──▶ execute ──▶ store ──▶ report
//! ```
//!
//! The runner ([`manifest`], [`key`], [`plan`], [`schedule`], [`execute`], [`store`], [`event`], [`report`]) knows no
//! machine learning; the science ([`ml`], [`plot`]) knows no cache. They meet in one folder, [`stages`]. Above them [`cli`] is the command
//! line and [`app`] has a function for each verb, the only place that names the runner and the stages together.

pub mod app;
pub mod cli;
pub mod event;
pub mod execute;
pub mod key;
pub mod manifest;
pub mod ml;
pub mod plan;
pub mod plot;
pub mod remote;
pub mod report;
pub mod schedule;
pub mod slurm;
pub mod stages;
pub mod store;
