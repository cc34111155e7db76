select p.id
  from product_product p
 where exists (select from product_price_list l where l.id = any($1) and l.company = (with {{>company.sql}} select company from company))
    or not exists (select from product_price_list l where l.id = any($1))
