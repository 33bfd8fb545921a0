"""Project API: answers students' questions with Saiga, grounded in the course's knowledge base."""
