//! Following redirects inside and outside the cache.

use std::time::Duration;

use cache_tower::{Policy, Reason};
use kit::{Answer, ok, status};
use tower::Layer;
use tower_http::follow_redirect::FollowRedirectLayer;

use crate::exchange::{cache_with, hit, hyper_client, miss, private_cache};

fn redirect(code: u16, to: &str) -> Answer {
    status(code)
        .with("location", to)
        .with("content-length", "0")
}

#[tokio::test]
async fn outside_a_redirect_and_its_target_are_stored_each() {
    let (origin, _, cache) = private_cache().await;
    let cached = cache.layer(hyper_client());
    let client = FollowRedirectLayer::new().layer(cached.clone());
    origin.answers(redirect(301, "/new").max_age(60));
    origin.answers(ok("text").max_age(60));

    miss(&client, &origin.uri("/old")).await.body("text");
    hit(&client, &origin.uri("/old")).await.body("text");
    hit(&cached, &origin.uri("/old")).await.status(301);
    hit(&cached, &origin.uri("/new")).await.body("text");
}

#[tokio::test]
async fn outside_a_redirect_with_a_body_that_nobody_reads_is_asked_for_again() {
    let (origin, _, cache) = private_cache().await;
    let client = FollowRedirectLayer::new().layer(cache.layer(hyper_client()));
    origin.answers(
        status(301)
            .with("location", "/new")
            .max_age(60)
            .chunk("moved"),
    );
    origin.answers(ok("text").max_age(60));
    origin.answers(
        status(301)
            .with("location", "/new")
            .max_age(60)
            .chunk("moved"),
    );

    miss(&client, &origin.uri("/old")).await.body("text");
    hit(&client, &origin.uri("/old")).await.body("text");
}

#[tokio::test]
async fn outside_a_redirect_that_is_not_stored_is_followed_anew() {
    let (origin, _, cache) = private_cache().await;
    let client = FollowRedirectLayer::new().layer(cache.layer(hyper_client()));
    origin.answers(redirect(302, "/monday"));
    origin.answers(ok("monday").max_age(60));
    origin.answers(redirect(302, "/tuesday"));
    origin.answers(ok("tuesday").max_age(60));

    miss(&client, &origin.uri("/today")).await.body("monday");
    miss(&client, &origin.uri("/today")).await.body("tuesday");
    hit(&client, &origin.uri("/monday")).await.body("monday");
}

#[tokio::test]
async fn inside_the_last_response_is_stored_under_the_first_uri() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(FollowRedirectLayer::new().layer(hyper_client()));
    origin.answers(redirect(301, "/new").max_age(60));
    origin.answers(ok("text").max_age(60));
    origin.answers(ok("text, again").max_age(60));

    miss(&client, &origin.uri("/old")).await.body("text");
    hit(&client, &origin.uri("/old")).await.body("text");
    let seen = miss(&client, &origin.uri("/new")).await;
    seen.because(Reason::UriMiss).body("text, again");
}

#[tokio::test]
async fn inside_a_redirect_that_must_not_be_stored_is_kept_as_long_as_its_target() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(FollowRedirectLayer::new().layer(hyper_client()));
    origin.answers(redirect(302, "/monday").cache_control("no-store"));
    origin.answers(ok("monday").max_age(60));

    miss(&client, &origin.uri("/today")).await.body("monday");
    // The origin would now say "/tuesday".
    hit(&client, &origin.uri("/today")).await.body("monday");
    assert_eq!(origin.sent().len(), 2);
}

#[tokio::test]
async fn permanent_redirects_are_stored_without_a_lifetime_of_their_own() {
    for (code, is_stored) in [
        (301, true),
        (308, true),
        (302, false),
        (307, false),
        (303, false),
    ] {
        let policy = Policy::private().default_ttl(Duration::from_secs(60));
        let (origin, _, cache) = cache_with(policy).await;
        let client = FollowRedirectLayer::new().layer(cache.layer(hyper_client()));
        origin.answers(redirect(code, "/new"));
        origin.answers(ok("text").max_age(60));
        miss(&client, &origin.uri("/old")).await.body("text");
        if !is_stored {
            origin.answers(redirect(code, "/new"));
        }
        hit(&client, &origin.uri("/old")).await.body("text");
        assert_eq!(origin.sent().len(), if is_stored { 2 } else { 3 }, "{code}");
    }
}
