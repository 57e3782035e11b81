-- Run once by the container `mariadb`, when its volume is empty: a database for each service that has one.
CREATE DATABASE chat_worker CHARACTER SET utf8mb4;
CREATE DATABASE task_service CHARACTER SET utf8mb4;
GRANT ALL ON chat_worker.* TO 'orquestrador'@'%';
GRANT ALL ON task_service.* TO 'orquestrador'@'%';
