use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const CPU: Wanted<'_> = Wanted { backend: "cpu", ordinal: None, bytes: 0 };

fn arithmetic() -> Arithmetic {
    Arithmetic { backend: "cpu".to_owned(), features: String::new() }
}

/// Two GPUs of 100 bytes with three places each.
fn with_gpus() -> Pool {
    let place =
        |ordinal| move |queue| Place { device: Device::Cuda { ordinal, queue }, arithmetic: arithmetic(), means: None };
    let gpu = move |ordinal| Gpu { bytes: 100, places: (0..3).map(place(ordinal)).collect() };
    Pool::cpu(1, &arithmetic()).with_gpus(move || Ok(vec![gpu(0), gpu(1)]))
}

fn gpu(bytes: u64) -> Wanted<'static> {
    Wanted { backend: "cuda", ordinal: None, bytes }
}

#[test]
fn no_more_leases_are_out_than_there_are_places() {
    let pool = Pool::cpu(3, &arithmetic());
    let (out, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let lease = pool.lease(&CPU, &|| false).unwrap();
                    most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    out.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
    assert!((2..=3).contains(&most.into_inner()));
}

#[test]
fn whoever_asks_first_is_served_first_and_greed_waits() {
    let pool = Pool::cpu(1, &arithmetic());
    let held = pool.lease(&CPU, &|| false).unwrap();
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for name in 0..4 {
            let (pool, order) = (&pool, &order);
            scope.spawn(move || {
                let _lease = pool.lease(&CPU, &|| false).unwrap();
                order.lock().unwrap().push(name);
            });
            while pool.shared.state().queue.len() <= name {
                std::thread::yield_now();
            }
        }
        drop(held);
        let _greedy = pool.lease(&CPU, &|| false).unwrap();
        order.lock().unwrap().push(9);
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 9]);
}

#[test]
fn a_waiter_hears_of_an_interruption_and_a_missing_device_is_said() {
    let pool = Pool::cpu(1, &arithmetic());
    let _held = pool.lease(&CPU, &|| false).unwrap();
    let polls = AtomicUsize::new(0);
    let stop = || polls.fetch_add(1, Ordering::SeqCst) > 1;
    assert!(matches!(pool.lease(&CPU, &stop), Err(Failure::Interrupted)));
    let missing = |wanted: &Wanted<'_>| pool.lease(wanted, &|| false).err().unwrap().to_string();
    assert_eq!(missing(&gpu(0)), "there is no device `cuda`: none was found");
    let third = Wanted { ordinal: Some(3), ..gpu(0) };
    assert_eq!(missing(&third), "there is no device `cuda:3`: none was found");
    let pool = Pool::cpu(1, &arithmetic()).with_gpus(|| Err("this machine has no driver".to_owned()));
    let why = pool.lease(&gpu(0), &|| false).err().unwrap().to_string();
    assert_eq!(why, "there is no device `cuda`: this machine has no driver");
}

/// Whether a lease is to be had now.
fn fits(pool: &Pool, wanted: &Wanted<'_>) -> Option<Box<dyn Lease>> {
    let polls = AtomicUsize::new(0);
    pool.lease(wanted, &|| polls.fetch_add(1, Ordering::SeqCst) > 1).ok()
}

#[test]
fn several_share_a_gpu_while_what_they_want_fits() {
    let pool = with_gpus();
    let first = fits(&pool, &gpu(60)).unwrap();
    let second = fits(&pool, &gpu(60)).unwrap();
    assert_ne!(first.device().ordinal(), second.device().ordinal());
    assert!(fits(&pool, &gpu(60)).is_none());
    let third = fits(&pool, &gpu(40)).unwrap();
    assert!(fits(&pool, &gpu(41)).is_none() && fits(&pool, &gpu(40)).is_some());
    drop(first);
    assert!(fits(&pool, &gpu(60)).is_some() || third.device().ordinal() != second.device().ordinal());
    drop((second, third));
    // Whoever wants more than there is gets all of one.
    let whole = fits(&pool, &gpu(u64::MAX)).unwrap();
    let pinned = |ordinal| Wanted { ordinal: Some(ordinal), ..gpu(1) };
    assert!(fits(&pool, &pinned(whole.device().ordinal())).is_none());
    assert!(fits(&pool, &pinned(1 - whole.device().ordinal())).is_some());
}

#[test]
fn a_gpu_that_is_lost_gives_no_places_and_whoever_waits_for_it_hears() {
    let pool = with_gpus();
    let held = pool.lease(&Wanted { ordinal: Some(0), ..gpu(100) }, &|| false).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.lease(&Wanted { ordinal: Some(0), ..gpu(1) }, &|| false).map(|_| ()));
        while pool.shared.state().queue.is_empty() {
            std::thread::yield_now();
        }
        pool.retire(held.device());
        assert!(matches!(waiter.join().unwrap(), Err(Failure::Lost(_))));
    });
    drop(held);
    assert_eq!(pool.places("cuda"), 3);
    assert_eq!(pool.lease(&gpu(1), &|| false).unwrap().device().ordinal(), 1);
    pool.retire(Device::Cuda { ordinal: 1, queue: 0 });
    assert_eq!((pool.places("cuda"), pool.places("cpu")), (0, 1));
}

#[test]
fn who_returns_a_place_is_told_whether_others_share_the_device() {
    #[derive(Default)]
    struct Ear(Mutex<Vec<bool>>);
    impl Means for Ear {
        fn rest(&self, shared: bool) {
            self.0.lock().unwrap().push(shared);
        }
    }
    let ear = Arc::new(Ear::default());
    let place = |queue| {
        let means: Arc<dyn Means> = ear.clone();
        Place { device: Device::Cuda { ordinal: 0, queue }, arithmetic: arithmetic(), means: Some(means) }
    };
    let places: Vec<Place> = (0..2).map(place).collect();
    let pool = Pool::cpu(1, &arithmetic()).with_gpus(move || Ok(vec![Gpu { bytes: 10, places: places.clone() }]));
    let (first, second) = (fits(&pool, &gpu(1)).unwrap(), fits(&pool, &gpu(1)).unwrap());
    drop(first);
    drop(second);
    assert_eq!(*ear.0.lock().unwrap(), [true, false]);
    // Whoever is asked to spare what it keeps is nobody who has a place.
    let held = fits(&pool, &gpu(1)).unwrap();
    pool.spare(held.device());
    assert_eq!(*ear.0.lock().unwrap(), [true, false, true]);
}
