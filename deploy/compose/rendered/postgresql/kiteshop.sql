\set password `cat /etc/postgresql/auth/password`
CREATE ROLE kiteshop LOGIN PASSWORD :'password';
CREATE DATABASE kiteshop OWNER kiteshop;
