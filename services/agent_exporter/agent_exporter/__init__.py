"""Agent exporter: what the dialogue agent did, as Prometheus metrics.

| metric | type | labels | source |
|---|---|---|---|
| agent_interactions_total | counter | | rows of agent.exchanges |
| agent_outcomes_total | counter | outcome | rows of agent.exchanges by outcome |
| agent_topics_total | counter | topic | rows of agent.exchanges by course |
| agent_unique_users_24h | gauge | | distinct user_name of the last 24 hours |
| agent_response_time_seconds | histogram | | timings->>'total' of completed exchanges |
| agent_answer_length_chars | histogram | | answers of completed exchanges |
| saiga_requests_total | counter | finished_reason | vllm:request_success_total |
| saiga_tokens_total | counter | kind | vllm:prompt_tokens_total, vllm:generation_tokens_total |
| saiga_response_time_seconds | histogram | | vllm:e2e_request_latency_seconds |
| saiga_gpu_memory_usage_bytes | gauge | gpu | DCGM_FI_DEV_FB_USED (MiB) of the DCGM exporter |
| qdrant_requests_total | counter | api, status | rest_responses_total, grpc_responses_total |
| qdrant_collections_total | gauge | | GET /collections |
| qdrant_points_total | gauge | collection | points_count of GET /collections/{collection} |
| agent_collector_success | gauge | collector | whether the source answered this scrape |
| agent_collector_duration_seconds | gauge | collector | time spent on the source |

The names are those of the original dashboards, so two gauges end in `_total`. Everything is read
when Prometheus scrapes; a metric whose source failed is absent, never invented.
"""
